//! The watcher: one small process for all parked trees of a user that wake for input.
//!
//! It sleeps in `epoll_wait(2)` over duplicates of the descriptors that parked threads sleep on, and over a pidfd of
//! every parked process. When something happens to a tree it lets go of its duplicates and makes a child, which resumes
//! the tree as `plimsoll resume` would. Once a second, as long as it watches anything, it looks for signals and
//! deadlines, too. It ends when nothing is left to watch.
//!
//! It keeps no state that matters: everything is in the records, which it reads again whenever it is told that they
//! changed. Its duplicates must not outlive what they stand in for, or peers would wait for a close that never comes;
//! so they go at once when a tree is resumed, by whomever, or a process of it ends.

use super::pending::{self, Asleep};
use super::{Deadline, Waits, WakeOn};
use crate::ParkError;
use crate::arm::pidfd;
use crate::fault_point::fault_point;
use crate::runtime::{Record, Runtime, State, WatcherLock};
use crate::{back, known, own_memory};
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::own::{Forked, fork};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::process::{
    PidfdGetfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, pidfd_getfd, setrlimit,
    waitid,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often signals and deadlines are looked at, and how long a tree rests that could not be resumed.
const TICK: Duration = Duration::from_secs(1);
/// How often a resume is tried while another plimsoll is at the tree, and how long between.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// Events taken at a time.
const EVENTS: usize = 32;
/// The key of the notice that records have changed.
const NOTICE: u64 = 0;

/// Watches until nothing is left to watch. `ready` is called once everything is watched that was to be. Where there
/// is a watcher already, nothing happens.
///
/// The process must have no other thread, and this returns in its children, too, when they have done their work.
///
/// # Errors
/// When records can't be read; in a child, as [`back::resume`].
pub fn watch(root: &Root, runtime: &Runtime, ready: impl FnOnce()) -> Result<(), ParkError> {
    let Some(lock) = runtime.lock_watcher()? else {
        return Ok(());
    };
    fault_point("watch-locked");
    stand_alone();
    own_memory::spare();
    allow_many_descriptors();
    let work = Watcher::new(root, runtime, lock)?.run(ready)?;
    // A child from here on: the watcher's descriptors are closed.
    match work {
        None => Ok(()),
        Some(Work::Resume(pid)) => resume(root, runtime, pid),
        Some(Work::Tidy) => known::living(runtime, root).map(drop),
    }
}

fn resume(root: &Root, runtime: &Runtime, pid: u32) -> Result<(), ParkError> {
    for _ in 0..TRIES {
        match back::wake(root, runtime, pid) {
            Err(ParkError::Busy(_)) => std::thread::sleep(BETWEEN_TRIES),
            // Somebody was faster.
            Err(ParkError::NotParked(_)) => return Ok(()),
            done => return done.map(drop),
        }
    }
    Err(ParkError::Busy(pid))
}

/// Neither a terminal that is closed nor a directory that is unmounted has to do with us.
fn stand_alone() {
    let _ = rustix::process::setsid(); // refused to who leads a group: no terminal's then
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"plimsoll");
}

/// One descriptor for each sleep of each tree.
fn allow_many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, most);
}

/// What a child is made for.
enum Work {
    Resume(u32),
    /// Everything of a tree has ended: its store goes.
    Tidy,
}

/// What a key of the epoll instance stands for.
enum Source {
    /// A descriptor that a thread of the tree sleeps on.
    Input(ProcessName),
    /// A process of the tree.
    Process(ProcessName),
    /// A child of ours, at work on the tree.
    Child(ProcessName),
}

/// A tree that is watched.
struct Tree {
    record: Record,
    /// With their keys.
    held: Vec<(u64, OwnedFd)>,
}

struct Watcher<'w> {
    root: &'w Root,
    runtime: &'w Runtime,
    lock: Option<WatcherLock>,
    epoll: OwnedFd,
    notice: OwnedFd,
    sources: HashMap<u64, Source>,
    /// By their first process.
    trees: HashMap<ProcessName, Tree>,
    children: HashMap<ProcessName, (u64, OwnedFd)>,
    /// Trees that could not be resumed, until when they are left alone.
    resting: HashMap<ProcessName, Instant>,
    next_key: u64,
}

impl<'w> Watcher<'w> {
    fn new(root: &'w Root, runtime: &'w Runtime, lock: WatcherLock) -> Result<Self, ParkError> {
        let failed = |errno: Errno| ParkError::NoWatcher(errno.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let notice = inotify::init(flags).map_err(failed)?;
        let changed = inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&notice, lock.path(), changed).map_err(failed)?;
        epoll::add(&epoll, &notice, EventData::new_u64(NOTICE), EventFlags::IN).map_err(failed)?;
        Ok(Self {
            root,
            runtime,
            lock: Some(lock),
            epoll,
            notice,
            sources: HashMap::new(),
            trees: HashMap::new(),
            children: HashMap::new(),
            resting: HashMap::new(),
            next_key: NOTICE + 1,
        })
    }

    /// `None` when nothing is left to watch; in a child its work.
    fn run(mut self, ready: impl FnOnce()) -> Result<Option<Work>, ParkError> {
        let mut ready = Some(ready);
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut next_tick = Instant::now() + TICK;
        let mut happened = self.look_again()?;
        fault_point("watch-taken");
        loop {
            for top in std::mem::take(&mut happened) {
                if let Some(work) = self.set_to_work(top)? {
                    return Ok(Some(work));
                }
            }
            if let Some(ready) = ready.take() {
                ready();
            }
            if self.is_idle() && self.end()? {
                return Ok(None);
            }
            self.wait(&mut events, next_tick)?;
            let mut changed = false;
            for event in events.drain(..) {
                let key = event.data.u64();
                match self.sources.get(&key) {
                    None => changed |= key == NOTICE,
                    Some(Source::Input(top) | Source::Process(top)) => happened.push(*top),
                    Some(Source::Child(top)) => {
                        let top = *top;
                        self.child_ended(top);
                        changed = true;
                    }
                }
            }
            happened.extend(self.trees_that(|record| is_over(&record.waits)));
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                happened.extend(self.trees_that(|record| self.has_signals(record)));
                let rested = self.resting.len();
                self.resting.retain(|_, until| now < *until);
                changed |= self.resting.len() < rested;
            }
            if changed {
                self.drain_notices();
                happened.extend(self.look_again()?);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.trees.is_empty() && self.children.is_empty() && self.resting.is_empty()
    }

    /// Gives up the lock, and looks once more for who was told in that moment that there is a watcher.
    fn end(&mut self) -> Result<bool, ParkError> {
        self.lock = None;
        if self.wanted()?.is_empty() {
            return Ok(true);
        }
        self.lock = self.runtime.lock_watcher()?;
        if self.lock.is_some() {
            self.runtime.tell_watcher()?; // that is us
        }
        Ok(self.lock.is_none())
    }

    fn wait(&self, events: &mut Vec<Event>, next_tick: Instant) -> Result<(), ParkError> {
        let ticks = !self.trees.is_empty() || !self.resting.is_empty();
        let tick = ticks.then(|| next_tick.saturating_duration_since(Instant::now()));
        let deadlines = self
            .trees
            .values()
            .filter_map(|tree| tree.record.waits.deadline);
        let until = deadlines.map(Deadline::left).chain(tick).min();
        let timeout = until.map(|until| Timespec::try_from(until).unwrap_or_default());
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(ParkError::NoWatcher(errno.into())),
        }
    }

    fn drain_notices(&self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.notice, &mut buffer).is_ok_and(|read| read > 0) {}
    }

    /// The trees that are to be watched, as their records say.
    fn wanted(&self) -> Result<HashMap<ProcessName, Record>, ParkError> {
        let records = self.runtime.records()?.into_iter().flatten();
        let wanted = records
            .filter(|record| record.wake == WakeOn::Input && record.state == State::Parked)
            .filter_map(|record| Some((record.processes.first()?.name, record)));
        Ok(wanted
            .filter(|(top, _)| !self.children.contains_key(top))
            .filter(|(top, _)| !self.resting.contains_key(top))
            .collect())
    }

    /// Watches what is to be watched, and nothing else; gives the trees that something has happened to already.
    fn look_again(&mut self) -> Result<Vec<ProcessName>, ParkError> {
        let wanted = self.wanted()?;
        let stale = |(top, tree): (&ProcessName, &Tree)| {
            (wanted.get(top) != Some(&tree.record)).then_some(*top)
        };
        for top in self.trees.iter().filter_map(stale).collect::<Vec<_>>() {
            self.let_go(top);
        }
        let mut happened = Vec::new();
        for (top, record) in wanted {
            if !self.trees.contains_key(&top) && !self.take(top, record)? {
                happened.push(top);
            }
        }
        Ok(happened)
    }

    /// Takes duplicates of what a tree sleeps on. `false` when a process of it has ended.
    fn take(&mut self, top: ProcessName, record: Record) -> Result<bool, ParkError> {
        let mut all_live = true;
        let mut held = Vec::new();
        for member in &record.processes {
            let pid = member.name.pid;
            // The handle first: who lives after it was opened is who it is of.
            let (Ok(process), true) = (pidfd(pid), member.name.lives(self.root)?) else {
                all_live = false;
                continue;
            };
            let waits = record.waits.descriptors.iter();
            for wait in waits.filter(|wait| wait.pid == pid && wait.unwatched.is_none()) {
                let none = PidfdGetfdFlags::empty();
                let events = EventFlags::from_bits_retain(wait.events);
                if let Ok(duplicate) = pidfd_getfd(process.as_fd(), wait.fd, none) {
                    held.extend(self.add(duplicate, events, Source::Input(top)));
                }
            }
            held.extend(self.add(process, EventFlags::IN, Source::Process(top)));
        }
        self.trees.insert(top, Tree { record, held });
        Ok(all_live)
    }

    /// Watches a descriptor. One that can't be watched was told of when its tree was parked.
    fn add(&mut self, fd: OwnedFd, events: EventFlags, source: Source) -> Option<(u64, OwnedFd)> {
        let key = self.next_key;
        epoll::add(&self.epoll, &fd, EventData::new_u64(key), events).ok()?;
        self.next_key += 1;
        self.sources.insert(key, source);
        Some((key, fd))
    }

    /// Closing is not enough: what is watched is the file, which the tree has open, too (`epoll(7)`, questions, 6).
    fn forget(&mut self, key: u64, fd: OwnedFd) {
        let _ = epoll::delete(&self.epoll, &fd);
        self.sources.remove(&key);
    }

    fn let_go(&mut self, top: ProcessName) -> Option<Record> {
        let tree = self.trees.remove(&top)?;
        for (key, fd) in tree.held {
            self.forget(key, fd);
        }
        Some(tree.record)
    }

    fn trees_that(&self, pass: impl Fn(&Record) -> bool) -> Vec<ProcessName> {
        let passing = self.trees.iter().filter(|(_, tree)| pass(&tree.record));
        passing.map(|(top, _)| *top).collect()
    }

    fn has_signals(&self, record: &Record) -> bool {
        record.processes.iter().any(|member| {
            let frozen = record.frozen.iter().flat_map(|plan| &plan.members);
            let mut signals = record.waits.signals.iter();
            let asleep = Asleep {
                stopped: frozen
                    .filter(|frozen| frozen.name == member.name)
                    .any(|frozen| frozen.stopped_before),
                awaited: signals
                    .find(|signals| signals.pid == member.name.pid)
                    .map_or(0, |signals| signals.mask),
            };
            pending::wakes(self.root, member.name.pid, asleep)
        })
    }

    /// Something has happened to a tree: a child of ours sees to it. Gives the work, in the child.
    fn set_to_work(&mut self, top: ProcessName) -> Result<Option<Work>, ParkError> {
        let Some(record) = self.let_go(top) else {
            return Ok(None); // a second thing happened to it
        };
        let mut living = None;
        for member in &record.processes {
            if living.is_none() && member.name.lives(self.root)? {
                living = Some(member.name.pid);
            }
        }
        let work = living.map_or(Work::Tidy, Work::Resume);
        fault_point("watch-woke");
        match fork() {
            Ok(Forked::Child) => return Ok(Some(work)),
            Ok(Forked::Parent(child)) => {
                fault_point("watch-forked");
                let source = Source::Child(top);
                let added = self.add(child, EventFlags::IN, source);
                self.children.extend(added.map(|child| (top, child)));
            }
            // No process is to be had now.
            Err(_) => self.rest(top),
        }
        Ok(None)
    }

    fn rest(&mut self, top: ProcessName) {
        self.resting.insert(top, Instant::now() + TICK);
    }

    fn child_ended(&mut self, top: ProcessName) {
        let Some((key, child)) = self.children.remove(&top) else {
            return;
        };
        let ended = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
        self.forget(key, child);
        if !matches!(ended, Ok(Some(status)) if status.exit_status() == Some(0)) {
            self.rest(top);
        }
    }
}

/// Whether the sleep itself is over.
fn is_over(waits: &Waits) -> bool {
    waits
        .deadline
        .is_some_and(|deadline| deadline.left().is_zero())
}
