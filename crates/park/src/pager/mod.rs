//! The pager: gives a running tree its memory back.
//!
//! One thread answers faults and reads events as they come; the others bring everything back behind it, frame by
//! frame in order of address. Both fill the same way ([`Space`]): what the view says now, from the store,
//! checked, into the absent pages only.
//!
//! Should the pager be killed, the threads that touch an absent page wait: the descriptor lives on in the
//! target. The next pager takes it from there, replays the log of events and wakes everybody to ask again.

mod dropping;
mod newborn;
mod past;
mod space;

pub(crate) use dropping::Dropping;
pub(crate) use past::{Past, PastFork};
pub use space::{Damage, FillError, Probe, Space};

use crate::store::{FrameReader, Store};
use newborn::Newborns;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_units::PageSize;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use space::Filled;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that bring back what nobody has asked for yet.
const MOST_WORKERS: usize = 4;

/// How long to wait for room for a descriptor.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(5);

/// How long the background stands back at a time.
const COURTESY: Duration = Duration::from_micros(50);

/// A pager at work on the spaces of one store.
pub struct Pager<'s> {
    store: &'s Store,
    page_size: PageSize,
    spaces: Mutex<Vec<Arc<Space>>>,
    /// Rung when there is a new space to listen to, or nothing left to do.
    bell: OwnedFd,
    finished: AtomicBool,
    returned_bytes: AtomicU64,
    /// Threads of the process wait for an answer: the background leaves them the disk and the cores.
    answering: AtomicBool,
    /// Stored pages that could not be read; their readers wait.
    damage: Mutex<Vec<Damage>>,
    newborns: Newborns,
}

impl<'s> Pager<'s> {
    /// A pager for these spaces.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub fn new(store: &'s Store, page_size: PageSize, spaces: Vec<Space>) -> Result<Self, Errno> {
        let spaces: Vec<Arc<Space>> = spaces.into_iter().map(Arc::new).collect();
        let newborns = Newborns::default();
        newborns.add(spaces.iter().filter(|space| space.pid().is_none()).cloned());
        Ok(Self {
            store,
            page_size,
            spaces: Mutex::new(spaces),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            finished: AtomicBool::new(false),
            returned_bytes: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            damage: Mutex::new(Vec::new()),
            newborns,
        })
    }

    /// Bytes brought back so far.
    #[must_use]
    pub fn returned_bytes(&self) -> u64 {
        self.returned_bytes.load(Ordering::Relaxed)
    }

    /// Works until everything is back in every space, those of children forked meanwhile included. `ready` is
    /// called once faults are answered: the tree may run from then on. `adopt` is called for a child that is not known:
    /// it finds the process, gives it a descriptor of its own and says `true`; or is called again a little later.
    /// `release` is called when a space should have everything: it makes sure, disarms the memory and says `true`; or finds
    /// that something happened meanwhile. Both are called by this thread alone.
    ///
    /// # Errors
    /// Stored pages that could not be had: their readers wait, and their space is not released.
    pub fn run<E>(
        &self,
        ready: impl FnOnce() -> Result<(), E>,
        mut adopt: impl FnMut(&Self, &Arc<Space>) -> bool,
        mut release: impl FnMut(&Self, &Arc<Space>) -> Result<bool, E>,
    ) -> Result<Vec<Damage>, E> {
        std::thread::scope(|scope| {
            scope.spawn(|| self.answer_faults());
            let outcome = ready().and_then(|()| self.release_all(&mut adopt, &mut release));
            self.finished.store(true, Ordering::SeqCst);
            self.ring();
            outcome
        })?;
        Ok(std::mem::take(&mut *self.lock_damage()))
    }

    fn release_all<E>(
        &self,
        adopt: &mut impl FnMut(&Self, &Arc<Space>) -> bool,
        release: &mut impl FnMut(&Self, &Arc<Space>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut done = 0;
        loop {
            // One after the other, though all are answered: one that forks all the time must come to an end of it.
            let space = self.spaces().get(done).cloned();
            let Some(space) = space else {
                return Ok(());
            };
            self.bring_back(&space, adopt);
            if !self.lock_damage().is_empty() {
                return Ok(());
            }
            if space.is_gone() || release(self, &space)? {
                done += 1;
            }
        }
    }

    fn spaces(&self) -> MutexGuard<'_, Vec<Arc<Space>>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that have a descriptor of their own.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.spaces()
            .iter()
            .filter_map(|space| space.pid())
            .collect()
    }

    fn lock_damage(&self) -> MutexGuard<'_, Vec<Damage>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes()); // full means that it rings already
    }

    /// Reads events of a space, and takes in the children that it forked; gives the faults to be answered.
    pub fn attend(&self, space: &Space) -> Vec<u64> {
        let (faults, born) = match space.read_events() {
            Ok(read) => read,
            // No room for one more descriptor, or its log: the event waits until there is.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                std::thread::sleep(NO_ROOM_PAUSE);
                return Vec::new();
            }
            Err(errno) => {
                self.damaged(Damage {
                    address: 0,
                    source: errno.into(),
                });
                return Vec::new();
            }
        };
        if !born.is_empty() {
            let born: Vec<Arc<Space>> = born.into_iter().map(Arc::new).collect();
            self.spaces().extend(born.iter().cloned());
            self.newborns.add(born);
            self.ring();
        }
        faults
    }

    fn damaged(&self, damage: Damage) {
        let mut damages = self.lock_damage();
        if !damages.iter().any(|known| known.address == damage.address) {
            damages.push(damage);
        }
    }

    /// Answers a fault that [`Pager::attend`] gave.
    pub fn answer(&self, space: &Space, address: u64) {
        self.fill(space, &mut FrameReader::new(), address, true);
    }

    /// Whether a space of which it is not known whose it is, is the memory of the process whose page map this is.
    ///
    /// # Errors
    /// When the store or the page map can't be read.
    pub fn probe(&self, space: &Space, pagemap: &Pagemap) -> Result<Probe, FillError> {
        let mut reader = FrameReader::new();
        loop {
            let probe = {
                let _alone = self.newborns.alone();
                space.probe(self.store, &mut reader, pagemap, self.page_size.get())?
            };
            if probe != Probe::EventFirst {
                return Ok(probe);
            }
            for address in self.attend(space) {
                self.fill(space, &mut reader, address, true);
            }
            std::thread::yield_now();
        }
    }

    /// Leaves every descriptor open, for the guardian to hold: not all is back.
    pub fn abandon(self) {
        let spaces = self.spaces.into_inner();
        std::mem::forget(spaces.unwrap_or_else(PoisonError::into_inner));
    }

    /// The thread that answers faults, until nothing is left to do.
    fn answer_faults(&self) {
        let mut reader = FrameReader::new();
        while !self.finished.load(Ordering::SeqCst) {
            let spaces: Vec<Arc<Space>> = self.spaces().clone();
            let mut waits: Vec<PollFd<'_>> = spaces
                .iter()
                .map(|space| PollFd::new(space.uffd(), PollFlags::IN))
                .collect();
            waits.push(PollFd::new(&self.bell, PollFlags::IN));
            let _ = rustix::io::retry_on_intr(|| poll(&mut waits, None));
            let ready: Vec<bool> = waits
                .iter()
                .map(|wait| wait.revents().contains(PollFlags::IN))
                .collect();
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            for (space, ready) in spaces.iter().zip(ready) {
                if ready {
                    self.answering.store(true, Ordering::Relaxed);
                    for address in self.attend(space) {
                        self.fill(space, &mut reader, address, true);
                    }
                    self.answering.store(false, Ordering::Relaxed);
                }
            }
        }
    }

    /// Fills from `address` on as far as one frame goes; gives the address after it.
    fn fill(&self, space: &Space, reader: &mut FrameReader, address: u64, asked: bool) -> u64 {
        loop {
            let filled = {
                let _quiet = self.newborns.while_unknown(space);
                space.fill(self.store, reader, address, asked, self.page_size.get())
            };
            match filled {
                Ok(Filled::Upto { end, bytes }) => {
                    self.returned_bytes.fetch_add(bytes, Ordering::Relaxed);
                    return end;
                }
                // An event is in the way: it has to be read before anything can be filled.
                Ok(Filled::EventFirst) => {
                    for address in self.attend(space) {
                        self.fill(space, reader, address, true);
                    }
                    std::thread::yield_now(); // whoever caused it has to get on first
                }
                Ok(Filled::Gone) => return u64::MAX,
                Err(damage) => {
                    self.damaged(damage);
                    return address.saturating_add(self.page_size.get());
                }
            }
        }
    }

    /// Brings everything back in one space, on all cores; this thread adopts meanwhile.
    fn bring_back(&self, space: &Space, adopt: &mut impl FnMut(&Self, &Arc<Space>) -> bool) {
        let cursor = Mutex::new(0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores.min(MOST_WORKERS) {
                let at_work = self.newborns.at_work();
                let cursor = &cursor;
                scope.spawn(move || {
                    let _at_work = at_work;
                    let mut reader = FrameReader::new();
                    while let Some(address) = self.next_address(space, cursor) {
                        while self.answering.load(Ordering::Relaxed) {
                            std::thread::sleep(COURTESY);
                        }
                        self.fill(space, &mut reader, address, false);
                    }
                });
            }
            self.newborns.tend(|space| adopt(self, space));
        });
    }

    /// Claims the next frame, wherever its pages are now.
    fn next_address(&self, space: &Space, cursor: &Mutex<u64>) -> Option<u64> {
        let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
        while !space.is_gone() {
            match space.next_stored(self.store, *cursor, self.page_size.get()) {
                Ok(Some((address, end))) => {
                    *cursor = end;
                    return Some(address);
                }
                // What moved behind the cursor is looked at again, from the start.
                Ok(None) if space.take_moved() => *cursor = 0,
                Ok(None) => return None,
                Err(damage) => {
                    self.damaged(damage);
                    return None;
                }
            }
        }
        None
    }
}
