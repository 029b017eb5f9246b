//! The sleeps of a stopped tree, read from its registers and memory.

use super::call::{self, Ends, Memory};
use super::{Before, Clock, Deadline, HOUSEKEEPING, Signals, Wait, Waits, epoll, words};
use crate::arm::duplicate;
use plimsoll_proc::Root;
use plimsoll_surgery::stop::{StoppedProcess, StoppedTree};
use plimsoll_sys::ptrace::Event;
use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What the threads of a tree wait for.
pub(crate) fn waits(root: &Root, tree: &StoppedTree, before: &Before) -> Waits {
    let mut waits = Waits::default();
    for process in &tree.processes {
        look_at(root, process, before, &mut waits);
    }
    waits
}

fn look_at(root: &Root, process: &StoppedProcess, before: &Before, waits: &mut Waits) {
    let pid = process.name.pid;
    let memory = Remote(File::open(format!("/proc/{pid}/mem")).ok());
    let mut descriptors: BTreeMap<i32, EventFlags> = BTreeMap::new();
    let mut signals = epoll::signals(root, pid).unwrap_or(0);
    for thread in &process.threads {
        // What job control has stopped waits for SIGCONT, whatever it slept in.
        if matches!(thread.event(), Event::GroupStop(_)) {
            continue;
        }
        let asleep = process.asleep.iter().find(|one| one.tid == thread.tid());
        let seen = asleep.and_then(|asleep| before.of(asleep));
        let sleep =
            seen.and_then(|(call, slept_ns)| Some((call::decode(&call, &memory)?, slept_ns)));
        let Some((sleep, slept_ns)) = sleep else {
            waits.unwatched_threads += 1;
            continue;
        };
        for (fd, events) in sleep.descriptors {
            *descriptors.entry(fd).or_insert(EventFlags::empty()) |= events;
        }
        signals |= sleep.signals;
        waits.end(sleep.ends, slept_ns.unwrap_or(0));
    }
    for (fd, events) in descriptors {
        waits.descriptors.extend(descriptor(root, pid, fd, events));
    }
    if signals != 0 {
        waits.signals.push(Signals { pid, mask: signals });
    }
}

impl Waits {
    /// Takes in when a sleep ends that has lasted for so long.
    fn end(&mut self, ends: Ends, slept_ns: u64) {
        let now_ns = Clock::Monotonic.now_ns();
        let (whole_ns, deadline) = match ends {
            Ends::Never => return,
            Ends::At(at) => (nanoseconds(at.left()).saturating_add(slept_ns), at),
            Ends::Left(left_ns) => (left_ns.saturating_add(slept_ns), from(now_ns, left_ns)),
            // One that is over, of a thread that has not run since, was no longer for that.
            Ends::Whole(whole_ns) => {
                let left_ns = whole_ns.saturating_sub(slept_ns);
                (whole_ns, from(now_ns, left_ns))
            }
        };
        if whole_ns < nanoseconds(HOUSEKEEPING) {
            let whole_ms = whole_ns / 1_000_000;
            let shortest = self.housekeeping_ms.unwrap_or(u64::MAX);
            self.housekeeping_ms = Some(shortest.min(whole_ms));
        } else if self
            .deadline
            .is_none_or(|known| deadline.left() < known.left())
        {
            self.deadline = Some(deadline);
        }
    }
}

fn from(now_ns: u64, left_ns: u64) -> Deadline {
    Deadline {
        clock: Clock::Monotonic,
        at_ns: now_ns.saturating_add(left_ns),
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is to be watched for a descriptor: itself, or what is in it.
fn descriptor(root: &Root, pid: u32, fd: i32, events: EventFlags) -> Vec<Wait> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    match link.as_os_str().as_encoded_bytes() {
        epoll::SIGNALFD => Vec::new(), // its signals are looked for
        epoll::EPOLL => instance(root, pid, fd, events),
        _ => vec![wait(pid, fd, events, None)],
    }
}

fn instance(root: &Root, pid: u32, fd: i32, events: EventFlags) -> Vec<Wait> {
    match epoll::look(root, pid, fd) {
        Some(epoll::Polled::Itself { members }) => {
            let what = format!("epoll of {members} descriptors");
            vec![wait(pid, fd, events, Some(what))]
        }
        Some(epoll::Polled::Members { each, missed }) => {
            let each = each.into_iter();
            let mut waits: Vec<Wait> = each
                .map(|(fd, events)| wait(pid, fd, events, None))
                .collect();
            if missed > 0 {
                let what = format!("epoll with {missed} descriptors that report edges");
                let why = "a signalfd is in it, too, which nobody else may poll";
                waits.push(unwatched(pid, fd, events, what, why.to_owned()));
            }
            waits
        }
        None => {
            let why = "what is in it can't be read".to_owned();
            vec![unwatched(pid, fd, events, "epoll".to_owned(), why)]
        }
    }
}

/// A descriptor to be watched, tried out.
fn wait(pid: u32, fd: i32, events: EventFlags, what: Option<String>) -> Wait {
    let named = |what: Option<String>| what.unwrap_or_else(|| format!("descriptor {fd}"));
    let duplicate = match duplicate(pid, fd) {
        Ok(duplicate) => duplicate,
        Err(error) => return unwatched(pid, fd, events, named(what), error.to_string()),
    };
    let what = what.unwrap_or_else(|| words::describe(pid, fd, &duplicate));
    match try_out(&duplicate, events) {
        Ok(()) => Wait {
            pid,
            fd,
            events: events.bits(),
            what,
            unwatched: None,
        },
        Err(Errno::PERM) => {
            let why = "it is of a kind that is always ready".to_owned();
            unwatched(pid, fd, events, what, why)
        }
        Err(errno) => unwatched(pid, fd, events, what, errno.to_string()),
    }
}

/// Whether the kernel lets us watch it (`epoll_ctl(2)`: `EPERM`, `ELOOP`).
fn try_out(duplicate: &OwnedFd, events: EventFlags) -> Result<(), Errno> {
    let scratch = create(CreateFlags::CLOEXEC)?;
    add(&scratch, duplicate, EventData::new_u64(0), events)
}

fn unwatched(pid: u32, fd: i32, events: EventFlags, what: String, why: String) -> Wait {
    Wait {
        pid,
        fd,
        events: events.bits(),
        what,
        unwatched: Some(why),
    }
}

/// A stopped process's memory: `/proc/PID/mem`, which makes no copies of pages shared by fork.
struct Remote(Option<File>);

impl Memory for Remote {
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
        self.0.as_ref()?.read_exact_at(into, address).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sleeps_are_housekeeping_and_the_first_long_one_wakes() {
        let seconds = |seconds: u64| seconds * 1_000_000_000;
        let mut waits = Waits::default();
        waits.end(Ends::Never, 0);
        assert_eq!(waits, Waits::default());
        waits.end(Ends::Whole(100_000_000), 0);
        waits.end(Ends::Whole(200_000_000), seconds(30));
        waits.end(Ends::Whole(seconds(9)), seconds(8));
        assert_eq!((waits.housekeeping_ms, waits.deadline), (Some(100), None));
        waits.end(Ends::Whole(seconds(3600)), seconds(600));
        // Nearly over, but long from its beginning.
        waits.end(Ends::Left(seconds(5)), seconds(20));
        let left = waits.deadline.map(Deadline::left).unwrap();
        assert!(left <= HOUSEKEEPING / 2, "{left:?}");
        waits.end(Ends::Whole(seconds(60)), 0);
        let left = waits.deadline.map(Deadline::left).unwrap();
        assert!(left <= HOUSEKEEPING / 2, "{left:?}");
        assert_eq!(waits.housekeeping_ms, Some(100));
    }

    #[test]
    fn what_is_always_ready_can_not_be_watched() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(try_out(&file.into(), EventFlags::IN), Err(Errno::PERM));
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(try_out(&reader, EventFlags::IN), Ok(()));
    }
}
