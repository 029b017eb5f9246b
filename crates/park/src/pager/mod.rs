//! The pager: gives a running tree its memory back.
//!
//! Threads on all cores answer faults and read events as they come ([`faults`]); others bring everything back behind
//! them ([`background`]), what was touched first the last time leading ([`touches`]). All fill the same way ([`fill`]):
//! what the view says now, from the source, checked, into the absent pages only.
//!
//! Should the pager be killed, the threads that touch an absent page wait: the descriptor lives on in the
//! target. The next pager takes it from there, replays the log of events and wakes everybody to ask again.

mod background;
mod dropping;
mod faults;
mod fill;
mod newborn;
mod past;
mod room;
mod space;
mod touches;

pub(crate) use dropping::Dropping;
pub(crate) use past::{Past, PastFork};
pub use room::Room;
pub use space::{Damage, FillError, Probe, Space};
pub use touches::{FirstTouches, Touch};

use crate::source::{Reader, Source};
use faults::Faults;
use fill::{Filled, Why};
use newborn::Newborns;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_units::PageSize;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that answer faults: two at least, since they wait for the disk.
const ANSWERERS: std::ops::RangeInclusive<usize> = 2..=4;

/// How long to wait for room for a descriptor.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(5);

/// What is done about memory that nobody asks for.
#[derive(Clone, Copy)]
pub enum Unasked<'u> {
    /// It comes back behind the faults.
    Returns,
    /// It stays where it is until this comes back.
    Stays(&'u (dyn Fn() + Sync)),
}

/// A pager at work on the spaces of one source.
pub struct Pager<'s> {
    source: &'s Source,
    page_size: PageSize,
    spaces: Mutex<Vec<Arc<Space>>>,
    faults: Faults,
    /// The background's turn at the disk.
    disk: Mutex<()>,
    finished: AtomicBool,
    returned_bytes: AtomicU64,
    /// Stored pages that could not be read; their readers wait.
    damage: Mutex<Vec<Damage>>,
    newborns: Newborns,
    /// What nobody asks for waits until there is some.
    room: Option<Room<'s>>,
}

/// Of a [`Caller`].
pub type Release<'c, E> = dyn FnMut(&Pager<'_>, &Arc<Space>) -> Result<bool, E> + 'c;

/// What the caller of a pager does for it, on its own thread.
pub struct Caller<'c, E> {
    /// Called once faults are answered: the tree may run from then on.
    pub ready: &'c mut dyn FnMut() -> Result<(), E>,
    /// Told the bytes that are back.
    pub progress: &'c mut dyn FnMut(u64),
    /// Called for a child that is not known: it finds the process, gives it a descriptor of its own and says `true`; or is
    /// called again a little later.
    pub adopt: &'c mut dyn FnMut(&Pager<'_>, &Arc<Space>) -> bool,
    /// Called when a space should have everything: it makes sure, disarms the memory and says `true`; or finds that
    /// something happened meanwhile.
    pub release: &'c mut Release<'c, E>,
}

impl<'s> Pager<'s> {
    /// A pager for these spaces.
    ///
    /// # Errors
    /// As `epoll_create(2)` and `eventfd(2)`.
    pub fn new(source: &'s Source, page_size: PageSize, spaces: Vec<Space>) -> Result<Self, Errno> {
        let pager = Self {
            source,
            page_size,
            spaces: Mutex::default(),
            faults: Faults::new()?,
            disk: Mutex::new(()),
            finished: AtomicBool::new(false),
            returned_bytes: AtomicU64::new(0),
            damage: Mutex::new(Vec::new()),
            newborns: Newborns::default(),
            room: None,
        };
        for space in spaces {
            pager.take_in(space)?;
        }
        Ok(pager)
    }

    /// What nobody asks for waits while there is no room.
    #[must_use]
    pub fn while_there_is(mut self, room: Option<Room<'s>>) -> Self {
        self.room = room;
        self
    }

    /// Bytes brought back so far.
    #[must_use]
    pub fn returned_bytes(&self) -> u64 {
        self.returned_bytes.load(Ordering::Relaxed)
    }

    /// Works until everything is back in every space, those of children forked meanwhile included.
    ///
    /// # Errors
    /// Stored pages that could not be had: their readers wait, and their space is not released.
    pub fn run<E>(
        &self,
        unasked: Unasked<'_>,
        caller: &mut Caller<'_, E>,
    ) -> Result<Vec<Damage>, E> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let known = self.spaces().len();
        std::thread::scope(|scope| {
            for _ in 0..cores.clamp(*ANSWERERS.start(), *ANSWERERS.end()) {
                scope.spawn(|| self.answer_faults());
            }
            // The disk is at work while the tree is being thawed.
            let at_work = self.newborns.at_work();
            scope.spawn(move || {
                let _at_work = at_work;
                if let Unasked::Stays(until) = unasked {
                    until();
                }
                self.bring_known_back(known);
            });
            let outcome = (caller.ready)().and_then(|()| {
                self.tend(caller);
                self.release_all(known, caller)
            });
            self.finished.store(true, Ordering::SeqCst);
            self.faults.end();
            outcome
        })?;
        Ok(std::mem::take(&mut *self.lock_damage()))
    }

    /// Adopts children as long as anything is being brought back.
    fn tend<E>(&self, caller: &mut Caller<'_, E>) {
        let Caller {
            adopt, progress, ..
        } = caller;
        self.newborns.tend(
            |space| adopt(self, space),
            || progress(self.returned_bytes()),
        );
    }

    /// The first so many spaces should have everything already; the others are of children.
    fn release_all<E>(&self, known: usize, caller: &mut Caller<'_, E>) -> Result<(), E> {
        let (mut done, mut tried) = (0, known);
        loop {
            // One after the other, though all are answered: one that forks all the time must come to an end of it.
            let space = self.spaces().get(done).cloned();
            let Some(space) = space else {
                return Ok(());
            };
            if done >= tried {
                std::thread::scope(|scope| {
                    let at_work = self.newborns.at_work();
                    scope.spawn(|| {
                        let _at_work = at_work;
                        self.bring_back(std::slice::from_ref(&space), Vec::new());
                    });
                    self.tend(caller);
                });
            }
            if !self.lock_damage().is_empty() {
                return Ok(());
            }
            if space.is_gone() || (caller.release)(self, &space)? {
                done += 1;
            } else {
                tried = done; // once more, and those behind it too
            }
        }
    }

    /// All spaces there have been so far.
    #[must_use]
    pub fn all_spaces(&self) -> Vec<Arc<Space>> {
        self.spaces().clone()
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

    fn damaged(&self, damage: Damage) {
        let mut damages = self.lock_damage();
        if !damages.iter().any(|known| known.address == damage.address) {
            damages.push(damage);
        }
    }

    fn take_in(&self, space: Space) -> Result<(), Errno> {
        let space = Arc::new(space);
        let mut spaces = self.spaces();
        spaces.push(Arc::clone(&space));
        let listening = self.faults.add(spaces.len() - 1, &space);
        drop(spaces);
        if space.pid().is_none() {
            self.newborns.add([space]);
        }
        listening
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
                self.unheard(errno);
                return Vec::new();
            }
        };
        for child in born {
            if let Err(errno) = self.take_in(child) {
                self.unheard(errno);
            }
        }
        faults
    }

    /// Faults of a space can't be heard of.
    fn unheard(&self, errno: Errno) {
        self.damaged(Damage {
            address: 0,
            source: errno.into(),
        });
    }

    /// Answers a fault that [`Pager::attend`] gave.
    pub fn answer(&self, space: &Space, address: u64) {
        self.fill(space, &mut self.source.reader(), address, Why::Asked);
    }

    /// Whether a space of which it is not known whose it is, is the memory of the process whose page map this is.
    ///
    /// # Errors
    /// When the store or the page map can't be read.
    pub fn probe(&self, space: &Space, pagemap: &Pagemap) -> Result<Probe, FillError> {
        let mut reader = self.source.reader();
        loop {
            let probe = {
                let _alone = self.newborns.alone();
                space.probe(self.source, &mut reader, pagemap, self.page_size.get())?
            };
            if probe != Probe::EventFirst {
                return Ok(probe);
            }
            for address in self.attend(space) {
                self.fill(space, &mut reader, address, Why::Asked);
            }
            std::thread::yield_now();
        }
    }

    /// Leaves every descriptor open, for the guardian to hold: not all is back.
    pub fn abandon(self) {
        let spaces = self.spaces.into_inner();
        std::mem::forget(spaces.unwrap_or_else(PoisonError::into_inner));
    }

    /// Fills from `address` on as far as one frame goes; gives the address after it.
    fn fill(&self, space: &Space, reader: &mut Reader<'_>, address: u64, why: Why) -> u64 {
        loop {
            let filled = {
                let _quiet = self.newborns.while_unknown(space);
                space.fill(self.source, reader, address, why, self.page_size.get())
            };
            match filled {
                Ok(Filled::Upto { end, bytes }) => {
                    self.returned_bytes.fetch_add(bytes, Ordering::Relaxed);
                    return end;
                }
                // An event is in the way: it has to be read before anything can be filled.
                Ok(Filled::EventFirst) => {
                    for address in self.attend(space) {
                        self.fill(space, reader, address, Why::Asked);
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
}
