//! The pager: gives a running tree its memory back.
//!
//! One thread answers faults and reads events as they come; the others bring everything back behind it, frame by
//! frame in order of address. Both fill the same way ([`Space`]): what the view says now, from the store,
//! checked, into the absent pages only.
//!
//! Should the pager be killed, the threads that touch an absent page wait: the descriptor lives on in the
//! target. The next pager takes it from there, replays the log of events and wakes everybody to ask again.

mod dropping;
mod space;

pub(crate) use dropping::Dropping;
pub use space::{Damage, FillError, Space};

use crate::store::{FrameReader, Store};
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
}

/// Where the background has got to.
struct Cursor {
    /// Spaces that are done.
    done: usize,
    /// The next address of the one after.
    address: u64,
}

/// What is worth doing next in the background.
struct Job {
    space: Arc<Space>,
    address: u64,
}

impl<'s> Pager<'s> {
    /// A pager for these spaces.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub fn new(store: &'s Store, page_size: PageSize, spaces: Vec<Space>) -> Result<Self, Errno> {
        Ok(Self {
            store,
            page_size,
            spaces: Mutex::new(spaces.into_iter().map(Arc::new).collect()),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            finished: AtomicBool::new(false),
            returned_bytes: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            damage: Mutex::new(Vec::new()),
        })
    }

    /// Bytes brought back so far.
    #[must_use]
    pub fn returned_bytes(&self) -> u64 {
        self.returned_bytes.load(Ordering::Relaxed)
    }

    /// Works until everything is back in every space, those of children forked meanwhile included. `ready` is
    /// called once faults are answered: the tree may run from then on. `release` is called when a space should have
    /// everything: it makes sure, disarms the memory and says `true`; or finds that something happened meanwhile.
    ///
    /// # Errors
    /// Stored pages that could not be had: their readers wait, and their space is not released.
    pub fn run<E>(
        &self,
        ready: impl FnOnce() -> Result<(), E>,
        mut release: impl FnMut(&Self, &Arc<Space>) -> Result<bool, E>,
    ) -> Result<Vec<Damage>, E> {
        std::thread::scope(|scope| {
            scope.spawn(|| self.answer_faults());
            let outcome = ready().and_then(|()| self.release_all(&mut release));
            self.finished.store(true, Ordering::SeqCst);
            self.ring();
            outcome
        })?;
        Ok(std::mem::take(&mut *self.lock_damage()))
    }

    fn release_all<E>(
        &self,
        release: &mut impl FnMut(&Self, &Arc<Space>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut done = 0;
        loop {
            self.bring_back_from(done);
            let space = self.spaces().get(done).cloned();
            let Some(space) = space else {
                return Ok(());
            };
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

    fn lock_damage(&self) -> MutexGuard<'_, Vec<Damage>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes()); // full means that it rings already
    }

    /// Reads events of a space, and takes in the children that it forked; gives the faults to be answered.
    pub fn attend(&self, space: &Space) -> Vec<u64> {
        let (faults, born) = space.read_events();
        if !born.is_empty() {
            self.spaces().extend(born.into_iter().map(Arc::new));
            self.ring();
        }
        faults
    }

    /// Answers a fault that [`Pager::attend`] gave.
    pub fn answer(&self, space: &Space, address: u64) {
        self.fill(space, &mut FrameReader::new(), address, true);
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
            match space.fill(self.store, reader, address, asked, self.page_size.get()) {
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
                    let mut damages = self.lock_damage();
                    if !damages.iter().any(|known| known.address == damage.address) {
                        damages.push(damage);
                    }
                    return address.saturating_add(self.page_size.get());
                }
            }
        }
    }

    /// Brings everything back, in the spaces from number `done` on, on all cores.
    fn bring_back_from(&self, done: usize) {
        let cursor = Mutex::new(Cursor { done, address: 0 });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores.min(MOST_WORKERS) {
                scope.spawn(|| {
                    let mut reader = FrameReader::new();
                    while let Some(job) = self.next_job(&cursor) {
                        while self.answering.load(Ordering::Relaxed) {
                            std::thread::sleep(COURTESY);
                        }
                        self.fill(&job.space, &mut reader, job.address, false);
                    }
                });
            }
        });
    }

    /// Claims the next frame, wherever its pages are now.
    fn next_job(&self, cursor: &Mutex<Cursor>) -> Option<Job> {
        let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let space = self.spaces().get(cursor.done)?.clone();
            match space.next_stored(self.store, cursor.address, self.page_size.get()) {
                Ok(Some((address, end))) => {
                    cursor.address = end;
                    return Some(Job { space, address });
                }
                // What moved behind the cursor is looked at again, from the start.
                Ok(None) if space.take_moved() => cursor.address = 0,
                Ok(None) => {
                    *cursor = Cursor {
                        done: cursor.done + 1,
                        address: 0,
                    };
                }
                Err(damage) => {
                    self.lock_damage().push(damage);
                    return None;
                }
            }
        }
    }
}
