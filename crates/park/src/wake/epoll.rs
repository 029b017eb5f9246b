//! What may be polled for an epoll instance that a thread sleeps on.
//!
//! The instance itself, as a rule: a duplicate of it is ready when its own waiter would be. Not where a
//! `signalfd(2)` is in it, which looks at the signals of whoever polls: our look finds none, takes the entry off the
//! instance's list of ready ones, and the program would never hear of its signal (`fs/eventpoll.c`,
//! `__ep_eventpoll_poll`; tried by the tests). Then its other members are polled one by one. That can't be done for
//! those that report edges (`EPOLLET`): one whose level was high all along would wake at once.

use plimsoll_proc::Root;
use plimsoll_proc::process::fdinfo::{EpollTarget, Fdinfo, Kind};
use plimsoll_sys::kcmp;
use rustix::event::epoll::EventFlags;
use std::collections::HashMap;

/// Instances that are looked into within one another: as many as the kernel allows, and one.
const MOST_NESTED: u32 = 6;

/// What to poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Polled {
    /// The instance, which has so many members.
    Itself {
        /// How many.
        members: usize,
    },
    /// These members, by number.
    Members {
        /// Which, and for what.
        each: Vec<(i32, EventFlags)>,
        /// How many more there are that can't be polled from outside.
        missed: usize,
    },
}

/// A member of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    fd: i32,
    events: EventFlags,
    /// A signalfd, or an instance with one in it, or a file that can't be told from one.
    tainted: bool,
}

/// Looks at an instance. `None` when it can't be looked at.
pub(super) fn look(root: &Root, pid: u32, fd: i32) -> Option<Polled> {
    members(root, pid, fd, MOST_NESTED).map(|members| decide(&members))
}

fn decide(members: &[Member]) -> Polled {
    if !members.iter().any(|member| member.tainted) {
        return Polled::Itself {
            members: members.len(),
        };
    }
    let clean = || members.iter().filter(|member| !member.tainted);
    let edges = EventFlags::ET | EventFlags::ONESHOT;
    let level = clean().filter(|member| !member.events.intersects(edges));
    let each: Vec<_> = level.map(|member| (member.fd, member.events)).collect();
    let missed = clean().count() - each.len();
    Polled::Members { each, missed }
}

fn members(root: &Root, pid: u32, fd: i32, depth: u32) -> Option<Vec<Member>> {
    let text = root.read(format!("proc/{pid}/fdinfo/{fd}")).ok()?;
    let targets = match Fdinfo::parse(&text).ok()?.kind {
        Kind::Epoll(targets) => targets,
        _ => Vec::new(), // one without members looks like any file
    };
    let mut seen: HashMap<u32, u32> = HashMap::new();
    let member = |target: EpollTarget| {
        let nth = seen.entry(target.tfd).or_default();
        let at = i32::try_from(target.tfd).ok()?;
        let known = kcmp::is_member(pid, at, fd, *nth) == Ok(true);
        *nth += 1;
        Some(Member {
            fd: at,
            events: EventFlags::from_bits_retain(target.events),
            tainted: if known {
                is_tainted(root, pid, at, depth)
            } else {
                holds_signalfd(root, pid)
            },
        })
    };
    Some(targets.into_iter().filter_map(member).collect())
}

fn is_tainted(root: &Root, pid: u32, fd: i32, depth: u32) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    match link.as_os_str().as_encoded_bytes() {
        SIGNALFD => true,
        EPOLL => depth
            .checked_sub(1)
            .and_then(|depth| members(root, pid, fd, depth))
            .is_none_or(|members| members.iter().any(|member| member.tainted)),
        _ => false,
    }
}

/// The link of a signalfd.
pub(super) const SIGNALFD: &[u8] = b"anon_inode:[signalfd]";
/// The link of an epoll instance.
pub(super) const EPOLL: &[u8] = b"anon_inode:[eventpoll]";

/// A member whose number is another file's by now could be a signalfd only if there ever was one; a process that
/// uses them holds some.
fn holds_signalfd(root: &Root, pid: u32) -> bool {
    signals(root, pid).is_none_or(|mask| mask != 0)
}

/// The signals that a process takes through its signalfds; `None` when its descriptors can't be listed.
pub(super) fn signals(root: &Root, pid: u32) -> Option<u64> {
    let mut mask = 0;
    for name in root.list(format!("proc/{pid}/fd")).ok()? {
        let Some(fd) = name.to_str() else { continue };
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        if link.as_os_str().as_encoded_bytes() != SIGNALFD {
            continue;
        }
        let text = root.read(format!("proc/{pid}/fdinfo/{fd}"));
        let text = text.unwrap_or_default();
        mask |= match Fdinfo::parse(&text).map(|info| info.kind) {
            Ok(Kind::Signalfd(signals)) => signals,
            _ => u64::MAX,
        };
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll;
    use rustix::fd::AsRawFd;

    #[test]
    fn an_instance_is_polled_itself_unless_a_signalfd_is_in_it() {
        let plain = |fd, events| Member {
            fd,
            events,
            tainted: false,
        };
        let signals = Member {
            fd: 9,
            events: EventFlags::IN,
            tainted: true,
        };
        let edge = EventFlags::IN | EventFlags::ET;
        let clean = [plain(4, EventFlags::IN), plain(5, edge)];
        assert_eq!(decide(&clean), Polled::Itself { members: 2 });
        let tainted = [clean[0], signals, clean[1]];
        let each = vec![(4, EventFlags::IN)];
        assert_eq!(decide(&tainted), Polled::Members { each, missed: 1 });
    }

    /// An instance of our own.
    #[test]
    fn members_are_found_and_told_apart() {
        let root = Root::live();
        let me = std::process::id();
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let number = instance.as_raw_fd();
        assert_eq!(look(&root, me, number), Some(Polled::Itself { members: 0 }));
        epoll::add(
            &instance,
            &reader,
            epoll::EventData::new_u64(0),
            EventFlags::IN,
        )
        .unwrap();
        assert_eq!(look(&root, me, number), Some(Polled::Itself { members: 1 }));
        assert_eq!(look(&root, me, -1), None);
        assert_eq!(signals(&root, me), Some(0));
    }
}
