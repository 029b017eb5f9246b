//! One address space that gets its pages back: its descriptor, its view, and the one way to fill it.
//!
//! Two things must never cross: a fill decided by an old view, and an event that changes it. So events are read
//! under the write lock and fills are made under the read lock, after looking at the view again. An event that
//! nobody read yet makes the kernel refuse the fill.

use super::past::{self, Past};
use crate::fault_point::fault_point;
use crate::runtime::{Logs, RecordFile};
use crate::store::{FrameReader, Pages, Slot, Store, StoreError};
use crate::view::View;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::uffd::{Event, EventLog, Fill, Halt, Mode, Uffd, serves};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// How long to wait before asking again for memory that the target's control group doesn't have.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(10);

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
    /// The store does not have it any more.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// A mapping moved since this was last asked.
    moved: AtomicBool,
    gone: AtomicBool,
}

#[derive(Debug)]
struct State {
    view: View,
    /// What a plimsoll that was killed while parking was about to drop; its report may still come.
    own: Option<Span>,
    log: EventLog,
    /// Where logs of children are made.
    logs: Logs,
    session: Option<u64>,
}

/// What a fill came to.
pub(super) enum Filled {
    /// All pages up to here are there, so many of them by this fill.
    Upto {
        /// The address after the last.
        end: u64,
        /// Bytes filled.
        bytes: u64,
    },
    /// An event has to be read first.
    EventFirst,
    /// The process ended.
    Gone,
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
            moved: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        })
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

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what happened and follows it; gives the faults to be answered, and the children that were forked.
    ///
    /// # Errors
    /// When nothing can be read though the process lives, or a child can't be listened to.
    pub(super) fn read_events(&self) -> Result<(Vec<u64>, Vec<Self>), Errno> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
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
            Err(_) if !serves(self.uffd.as_fd()) => self.gone.store(true, Ordering::SeqCst),
            Err(errno) => return Err(errno),
        }
        Ok((faults, born))
    }

    /// Whether this is the memory of the process whose page map this is: fills a page that is absent there, and looks
    /// where it appears. Nobody else may fill memory of which it is not known whose it is meanwhile.
    pub(super) fn probe(
        &self,
        store: &Store,
        reader: &mut FrameReader,
        pagemap: &Pagemap,
        page_size: u64,
    ) -> Result<Probe, FillError> {
        let mut at = 0;
        while let Some((start, end)) = self
            .next_stored(store, at, page_size)
            .map_err(|damage| damage.source)?
        {
            at = end;
            let Some(absent) = first_absent(pagemap, Span { start, end })? else {
                continue;
            };
            let filled = self.fill(store, reader, absent, false, page_size);
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

    /// Whether every stored page of the process is in its memory. Zeros don't count: once disarmed, absent pages are
    /// zeros by themselves.
    ///
    /// # Errors
    /// As reading the index and the page map.
    pub fn is_back(
        &self,
        store: &Store,
        pagemap: &Pagemap,
        page_size: u64,
    ) -> Result<bool, FillError> {
        let mut at = 0;
        while let Some((start, end)) = self
            .next_stored(store, at, page_size)
            .map_err(|damage| damage.source)?
        {
            if first_absent(pagemap, Span { start, end })?.is_some() {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// The next address from `address` on whose page is in the store and not zero, and where that frame ends.
    pub(super) fn next_stored(
        &self,
        store: &Store,
        address: u64,
        page_size: u64,
    ) -> Result<Option<(u64, u64)>, Damage> {
        let state = self.read();
        let mut at = address;
        while let Some((span, parked)) = state.view.at_or_after(at) {
            let found = store.next_pages(self.slot, parked);
            let run = found.map_err(|error| damage(span.start, error))?;
            let ahead = run.map(|run| {
                (
                    run.address.saturating_sub(parked),
                    run.end(page_size) - parked,
                )
            });
            match ahead {
                Some((ahead, end)) if ahead < span.len() => {
                    let first = span.start + ahead;
                    // Long runs (zeros, shared) are claimed a piece at a time.
                    let end = end.min(ahead.saturating_add(CLAIM)).min(span.len());
                    return Ok(Some((first, span.start + end)));
                }
                _ => at = span.end,
            }
        }
        Ok(None)
    }

    /// Fills the absent pages from `address` to the end of its frame. `asked`: somebody waits at `address`.
    pub(super) fn fill(
        &self,
        store: &Store,
        reader: &mut FrameReader,
        address: u64,
        asked: bool,
        page_size: u64,
    ) -> Result<Filled, Damage> {
        let address = address - address % page_size;
        let before = self.read().view.at_or_after(address);
        let parked = before.and_then(|(span, parked)| (span.start == address).then_some(parked));
        let pages = match parked {
            None => None,
            Some(parked) => match store.at_or_after(self.slot, parked) {
                Ok(Some(run)) if run.address <= parked => {
                    let pages = reader.read(store, &run, parked);
                    Some(pages.map_err(|error| damage(address, error))?)
                }
                Ok(_) => None,
                Err(error) => return Err(damage(address, error)),
            },
        };
        let mut unmapped = Vec::new();
        let filled = self.fill_now(
            address,
            before,
            parked,
            pages,
            asked,
            page_size,
            &mut unmapped,
        );
        if !unmapped.is_empty() {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for page in unmapped {
                state.view.remove(page);
            }
        }
        filled
    }

    /// Fills with what was read, if the view is still what it was read by. Pages where nothing of this descriptor's
    /// is mapped, with no event in the way, are told: they are not ours to bring back.
    #[allow(
        clippy::too_many_arguments,
        reason = "the second half of `fill`, which holds the lock"
    )]
    fn fill_now(
        &self,
        address: u64,
        before: Option<(Span, u64)>,
        parked: Option<u64>,
        pages: Option<Pages<'_>>,
        asked: bool,
        page_size: u64,
        unmapped: &mut Vec<Span>,
    ) -> Result<Filled, Damage> {
        let state = self.read();
        let now = state.view.at_or_after(address);
        let room = match (now, parked) {
            (Some((span, at)), Some(parked)) if span.start == address && at == parked => span.len(),
            (Some((span, _)), None) if span.start == address && before != now => {
                return Ok(Filled::EventFirst);
            }
            (_, None) => page_size,
            (_, Some(_)) => return Ok(Filled::EventFirst), // it changed while we read: look again
        };
        match pages {
            // Nothing was there: zeros, where somebody asks. One page, for what lies beside may be parked.
            None if asked => self.put(Source::Zeros(page_size), address, page_size, unmapped),
            None => Ok(upto(address + page_size, 0)),
            Some(Pages::Zeros(length)) => {
                let length = length.min(room).min(CLAIM);
                self.put(Source::Zeros(length), address, page_size, unmapped)
            }
            Some(Pages::Bytes(bytes)) => {
                let length = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                self.put(
                    Source::Bytes(bytes.get(..length).unwrap_or_default()),
                    address,
                    page_size,
                    unmapped,
                )
            }
        }
    }

    /// Fills absent pages and leaves those that are there. The caller holds the read lock.
    fn put(
        &self,
        source: Source<'_>,
        address: u64,
        page_size: u64,
        unmapped: &mut Vec<Span>,
    ) -> Result<Filled, Damage> {
        let length = source.len();
        let (mut done, mut filled) = (0, 0);
        // A frame may lie over several mappings by now; then it is filled page by page.
        let mut most = length;
        while done < length {
            let at = address.saturating_add(done);
            let Fill { done_bytes, halt } =
                source.put(&self.uffd, at, done, most.min(length - done));
            done += done_bytes;
            filled += done_bytes;
            match halt {
                None | Some(Halt::Partial) => {}
                Some(Halt::Exists) => {
                    let _ = self.uffd.wake(Span::new(at, page_size));
                    done += page_size;
                }
                Some(Halt::Unmapped) if most > page_size => most = page_size,
                Some(Halt::Unmapped) => {
                    unmapped.push(Span::new(at, page_size));
                    done += page_size;
                }
                Some(Halt::Changing) => return Ok(Filled::EventFirst),
                Some(Halt::Gone) => {
                    self.gone.store(true, Ordering::SeqCst);
                    return Ok(Filled::Gone);
                }
                Some(Halt::Failed(Errno::NOMEM)) => std::thread::sleep(NO_MEMORY_PAUSE),
                Some(Halt::Failed(errno)) => {
                    return Err(Damage {
                        address: at,
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(upto(address.saturating_add(done), filled))
    }
}

/// The most that is filled without looking up.
const CLAIM: u64 = 1 << 20;

/// What absent pages are filled with.
#[derive(Clone, Copy)]
enum Source<'b> {
    Zeros(u64),
    Bytes(&'b [u8]),
}

impl Source<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Zeros(length) => length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Puts `length` bytes from `from` on at `address`.
    fn put(self, uffd: &Uffd, address: u64, from: u64, length: u64) -> Fill {
        match self {
            Self::Zeros(_) => uffd.zeropage(Span::new(address, length), Mode::empty()),
            Self::Bytes(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                uffd.copy(
                    address,
                    bytes.get(from..to).unwrap_or_default(),
                    Mode::empty(),
                )
            }
        }
    }
}

fn upto(end: u64, bytes: u64) -> Filled {
    Filled::Upto { end, bytes }
}

fn damage(address: u64, error: StoreError) -> Damage {
    Damage {
        address,
        source: error.into(),
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
