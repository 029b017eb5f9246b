//! The threads that answer faults, on all cores.
//!
//! They share one `epoll(7)` instance, which wakes one of them for each descriptor that has something to read. Who
//! reads a batch answers its first fault and leaves the others to whoever is free. A thread that goes through
//! its memory in order is answered further and further ahead.

use super::Pager;
use super::fill::{CLAIM, Why};
use super::space::Space;
use crate::source::Reader;
use crate::store::FRAME_BYTES;
use plimsoll_sys::Span;
use rustix::event::epoll;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a descriptor that is no space's says in its events.
const LEFT: u64 = u64::MAX;
const END: u64 = u64::MAX - 1;

/// A fault this short a time ago means that another is on its way.
const BURST: Duration = Duration::from_micros(500);

/// Faults of all spaces of a pager.
pub(super) struct Faults {
    epoll: OwnedFd,
    /// Faults that were read and not taken yet.
    left: Mutex<VecDeque<(Arc<Space>, u64)>>,
    /// Counts them (`EFD_SEMAPHORE`).
    left_bell: OwnedFd,
    end_bell: OwnedFd,
    /// Being answered.
    answering: AtomicUsize,
    begun: Instant,
    /// When the last one came, in microseconds since the beginning.
    last_us: AtomicU64,
}

/// A walk through memory in order, as far as its faults tell.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    next: u64,
    ahead: u64,
}

/// Walks that one thread keeps in mind.
#[derive(Default)]
struct Walks {
    known: [Walk; 4],
    oldest: usize,
}

impl Walks {
    /// How much to bring after a fault in the frame at `start`.
    fn ahead(&mut self, start: u64, end: u64) -> u64 {
        let continues = |walk: &&mut Walk| walk.next == start;
        if let Some(walk) = self.known.iter_mut().find(continues) {
            walk.ahead = (walk.ahead * 2).clamp(2 * FRAME_BYTES as u64, CLAIM);
            walk.next = end.saturating_add(walk.ahead);
            return walk.ahead;
        }
        if let Some(walk) = self.known.get_mut(self.oldest) {
            *walk = Walk {
                next: end,
                ahead: 0,
            };
        }
        self.oldest = (self.oldest + 1) % self.known.len();
        0
    }
}

impl Faults {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let faults = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            left: Mutex::new(VecDeque::new()),
            left_bell: eventfd(0, flags | EventfdFlags::SEMAPHORE)?,
            end_bell: eventfd(0, flags)?,
            answering: AtomicUsize::new(0),
            begun: Instant::now(),
            last_us: AtomicU64::new(0),
        };
        faults.listen(&faults.left_bell, LEFT)?;
        faults.listen(&faults.end_bell, END)?;
        Ok(faults)
    }

    fn listen(&self, fd: impl AsFd, number: u64) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)
    }

    /// Listens to the space of this number.
    pub(super) fn add(&self, number: usize, space: &Space) -> Result<(), Errno> {
        self.listen(space.uffd(), number as u64)
    }

    /// Nothing is left to do.
    pub(super) fn end(&self) {
        let _ = rustix::io::write(&self.end_bell, &1u64.to_ne_bytes()); // nobody ever reads it: all see it
    }

    /// Whether threads of the process wait, or will at once: the background leaves them the disk and the cores.
    pub(super) fn are_urgent(&self) -> bool {
        let since = Duration::from_micros(self.last_us.load(Ordering::Relaxed));
        self.answering.load(Ordering::Relaxed) > 0
            || since > Duration::ZERO && self.begun.elapsed() < since + BURST
    }

    /// Since the pager began.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<(Arc<Space>, u64)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves faults to whoever is free.
    fn leave(&self, space: &Arc<Space>, faults: &[u64]) {
        if faults.is_empty() {
            return;
        }
        let each = faults.iter().map(|fault| (Arc::clone(space), *fault));
        self.left().extend(each);
        let count = (faults.len() as u64).to_ne_bytes();
        let _ = rustix::io::write(&self.left_bell, &count);
    }

    fn take(&self) -> Option<(Arc<Space>, u64)> {
        let _ = rustix::io::read(&self.left_bell, &mut [0; 8]);
        self.left().pop_front()
    }
}

impl Pager<'_> {
    /// What each of the threads does, until nothing is left to do.
    pub(super) fn answer_faults(&self) {
        let mut reader = self.source.reader();
        let mut walks = Walks::default();
        loop {
            let mut room = [MaybeUninit::uninit(); 1];
            let waited = epoll::wait(&self.faults.epoll, &mut room, None);
            let number = match waited {
                Ok(([event], _)) => event.data.u64(),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            match number {
                END => return,
                LEFT => {
                    if let Some((space, fault)) = self.faults.take() {
                        self.answer_one(&space, &mut reader, fault, &mut walks);
                    }
                }
                number => {
                    let space = usize::try_from(number).ok();
                    let space = space.and_then(|number| self.spaces().get(number).cloned());
                    let Some(space) = space else {
                        continue;
                    };
                    if space.is_gone() {
                        let _ = epoll::delete(&self.faults.epoll, space.uffd());
                    }
                    if let [first, rest @ ..] = self.attend(&space).as_slice() {
                        self.faults.leave(&space, rest);
                        self.answer_one(&space, &mut reader, *first, &mut walks);
                    }
                }
            }
        }
    }

    fn answer_one(
        &self,
        space: &Arc<Space>,
        reader: &mut Reader<'_>,
        fault: u64,
        walks: &mut Walks,
    ) {
        self.faults.answering.fetch_add(1, Ordering::Relaxed);
        let end = self.fill(space, reader, fault, Why::Asked);
        self.faults.answering.fetch_sub(1, Ordering::Relaxed);
        let now_us = u64::try_from(self.faults.age().as_micros()).unwrap_or(u64::MAX);
        self.faults.last_us.store(now_us, Ordering::Relaxed);
        let Some((start, parked)) = space.frame_at(self.source, fault) else {
            return;
        };
        space.first_touches().note(parked, now_us);
        let ahead = walks.ahead(start, end);
        if ahead > 0 {
            let span = Span {
                start: end,
                end: end.saturating_add(ahead),
            };
            self.fill_all(space, reader, span, None);
        }
    }
}
