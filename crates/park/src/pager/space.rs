//! One address space that gets its pages back: its descriptor, its view, and what happens to it meanwhile.
//!
//! Two things must never cross: a fill decided by an old view, and an event that changes it. So events are read
//! under the write lock and fills ([`super::fill`]) are made under the read lock, after looking at the view again. An
//! event that nobody read yet makes the kernel refuse the fill.

use super::fill::{Filled, InFlight, Why};
use super::past::{self, Past};
use super::touches::FirstTouches;
use crate::fault_point::fault_point;
use crate::runtime::{Logs, RecordFile};
use crate::source::{Reader, Source, SourceError};
use crate::store::Slot;
use crate::view::View;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::uffd::{Event, EventLog, Uffd, serves};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A page that can't be had. Its readers wait; they are never given zeros.
#[derive(Debug, thiserror::Error)]
#[error("the page at {address:#x} can't be brought back")]
pub struct Damage {
    /// Where it should be.
    pub address: u64,
    /// Why not.
    pub source: FillError,
}

/// Why a page could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Where it was kept, it is not any more.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The kernel refused.
    #[error("the kernel refused the page")]
    Kernel(#[from] Errno),
}

/// An address space.
#[derive(Debug)]
pub struct Space {
    slot: Slot,
    uffd: Uffd,
    /// The process; of a child forked since, once that is known.
    pid: OnceLock<u32>,
    state: RwLock<State>,
    /// To see what is absent; not that of a child, whose process is not known.
    pagemap: Option<Pagemap>,
    first_touches: FirstTouches,
    /// Frames that a thread is filling with right now.
    pub(super) in_flight: InFlight,
    /// A mapping moved since this was last asked.
    moved: AtomicBool,
    gone: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) view: View,
    /// What a plimsoll that was killed while parking was about to drop; its report may still come.
    own: Option<Span>,
    log: EventLog,
    /// Where logs of children are made.
    logs: Logs,
    session: Option<u64>,
}

/// Whether a space is the memory of a certain process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A page filled in the space appeared in that process.
    Its,
    /// One appeared elsewhere, or there was nothing to tell by.
    NotKnown,
    /// An event has to be read first.
    EventFirst,
    /// The memory is gone.
    Gone,
}

impl Space {
    /// A space with what was parked of it. If a pager was here before, what it logged is replayed.
    ///
    /// `session`: that of the pager, which is noted in the log; `None` where nothing can be forked.
    ///
    /// # Errors
    /// As `open(2)` and `mmap(2)` of the log. The descriptor is not closed then: that could be the last.
    pub(crate) fn new(
        slot: Slot,
        pid: Option<u32>,
        uffd: Uffd,
        parked: View,
        logs: Logs,
        session: Option<u64>,
    ) -> std::io::Result<Self> {
        let log = logs.open().and_then(|log| Ok(EventLog::open(log)?));
        let noted = log.and_then(|mut log| {
            let past = Past::of(&log, parked);
            if let Some(session) = session {
                log.note(past::session(session))?;
            }
            Ok((log, past))
        });
        let (log, past) = match noted {
            Ok(noted) => noted,
            Err(error) => {
                std::mem::forget(uffd);
                return Err(error);
            }
        };
        Ok(Self {
            slot,
            uffd,
            pid: pid.map_or_else(OnceLock::new, OnceLock::from),
            state: RwLock::new(State {
                view: past.view,
                own: past.own,
                log,
                logs: logs.after(past.forks.len()),
                session,
            }),
            pagemap: None,
            first_touches: FirstTouches::default(),
            in_flight: InFlight::default(),
            moved: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        })
    }

    /// The same, with its page map, where that could be opened, and what it touched first the last time.
    #[must_use]
    pub fn with(self, pagemap: Option<Pagemap>, first_touches: FirstTouches) -> Self {
        Self {
            pagemap,
            first_touches,
            ..self
        }
    }

    pub(super) fn pagemap(&self) -> Option<&Pagemap> {
        self.pagemap.as_ref()
    }

    /// What it touched first.
    #[must_use]
    pub fn first_touches(&self) -> &FirstTouches {
        &self.first_touches
    }

    /// Whose memory it was.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The process that has a descriptor of this memory in its own table; `None` for a child that has none yet: ours,
    /// which a guardian shares, is the only one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid.get().copied()
    }

    /// The child has its own descriptor from now on.
    pub(crate) fn is_of(&self, pid: u32) {
        let _ = self.pid.set(pid); // there is but one
    }

    /// Where it is written which child this is.
    pub(crate) fn who(&self) -> RecordFile {
        self.read().logs.who()
    }

    /// Its descriptor.
    #[must_use]
    pub fn uffd(&self) -> &Uffd {
        &self.uffd
    }

    /// Whether the process ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Wakes every thread that waits in these spans: those whose fault was read by a pager that is no more.
    pub fn wake(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            let _ = self.uffd.wake(span); // nothing mapped there: nobody waits there
        }
    }

    pub(super) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::SeqCst)
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what happened and follows it; gives the faults to be answered, and the children that were forked.
    ///
    /// # Errors
    /// When nothing can be read though the process lives, or a child can't be listened to.
    pub(super) fn read_events(&self) -> Result<(Vec<u64>, Vec<Self>), Errno> {
        let mut state = self.write();
        let State {
            view,
            own,
            log,
            logs,
            session,
        } = &mut *state;
        let mut faults = Vec::new();
        let mut born = Vec::new();
        let mut unborn = None;
        let read = log.read(&self.uffd, |event| match event {
            Event::Pagefault(fault) => faults.push(fault.address),
            Event::Fork(uffd) => {
                fault_point("fork-read");
                let (view, logs) = (view.clone(), logs.next_child());
                match Self::new(self.slot, None, uffd, view, logs, *session) {
                    Ok(child) => born.push(child),
                    Err(error) => unborn = Some(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
                }
            }
            Event::Remap { from, to } => {
                view.remap(from, to.start, to.len());
                self.moved.store(true, Ordering::SeqCst);
            }
            Event::Remove(span) if *own == Some(span) => *own = None,
            Event::Remove(span) | Event::Unmap(span) => view.remove(span),
            Event::Unknown(_) => {}
        });
        match unborn.map_or(read, Err) {
            Ok(()) => {}
            Err(_) if !serves(self.uffd.as_fd()) => self.set_gone(),
            Err(errno) => return Err(errno),
        }
        Ok((faults, born))
    }

    /// Whether this is the memory of the process whose page map this is: fills a page that is absent there, and looks
    /// where it appears. Nobody else may fill memory of which it is not known whose it is meanwhile.
    pub(super) fn probe(
        &self,
        source: &Source,
        reader: &mut Reader<'_>,
        pagemap: &Pagemap,
        page_size: u64,
    ) -> Result<Probe, FillError> {
        let mut at = 0;
        while let Some((start, end)) = self
            .next_stored(source, at)
            .map_err(|damage| damage.source)?
        {
            at = end;
            let Some(absent) = first_absent(pagemap, Span { start, end })? else {
                continue;
            };
            let filled = self.fill(source, reader, absent, Why::Ahead, page_size);
            match filled.map_err(|damage| damage.source)? {
                Filled::Upto { .. } => {}
                Filled::EventFirst => return Ok(Probe::EventFirst),
                Filled::Gone => return Ok(Probe::Gone),
            }
            let here = Span::new(absent, page_size);
            if first_absent(pagemap, here)?.is_none() {
                return Ok(Probe::Its);
            }
            // Filled, or there before; unless nothing is mapped there in this memory.
            if self.read().view.parked_at(absent).is_some() {
                return Ok(Probe::NotKnown);
            }
        }
        Ok(Probe::NotKnown)
    }
}

/// The first page of a span that is not there; in memory that is gone, none is.
fn first_absent(pagemap: &Pagemap, span: Span) -> Result<Option<u64>, Errno> {
    let mut there = true;
    let mut absent = span.start;
    pagemap.entries(span, |address, entry| {
        there &= entry.present() || entry.swapped();
        if there {
            absent = address.saturating_add(pagemap.page_size().get());
        }
    })?;
    Ok((absent < span.end).then_some(absent))
}
