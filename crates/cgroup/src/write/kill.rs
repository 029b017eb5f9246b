//! All that runs in a group, and in those below it, ended: by `cgroup.kill` (5.14), elsewhere process by process.
//!
//! Process by process, each is held by a pidfd while it is looked up again: a pid that was given to somebody else
//! meanwhile is let alone. Who forks faster than that is caught in a later round, or told as not done.

use super::{ControlError, Group};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// How it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KilledBy {
    /// In one step.
    CgroupKill,
    /// By a signal to each of so many processes.
    Signals(usize),
}

/// Sends SIGKILL to everybody in the group and below it. They take a moment to end: the group is empty when
/// [`Group::processes`] says so, of it and of those below. One that v1's freezer holds ends when it is thawed.
///
/// # Errors
/// As `read(2)` and `write(2)`; `EPERM` for a process of somebody else, after all others were signalled.
pub fn kill(group: &Group) -> Result<KilledBy, ControlError> {
    if group.has("cgroup.kill") {
        group.set("cgroup.kill", "1")?;
        return Ok(KilledBy::CgroupKill);
    }
    let mut round = Round::default();
    for _ in 0..ROUNDS {
        let before = round.signalled.len();
        round.each(group)?;
        if round.signalled.len() == before {
            break;
        }
    }
    match round.refused {
        Some(errno) => Err(ControlError::new("kill all of", group.path(), errno)),
        None => Ok(KilledBy::Signals(round.signalled.len())),
    }
}

/// Children that are born while their parents are killed need another round; as many as this is a fork bomb.
const ROUNDS: usize = 64;

#[derive(Default)]
struct Round {
    signalled: BTreeSet<u32>,
    refused: Option<Errno>,
}

impl Round {
    fn each(&mut self, group: &Group) -> Result<(), ControlError> {
        for child in group.children()? {
            self.each(&child)?;
        }
        let held: Vec<_> = group
            .processes()?
            .seen
            .into_iter()
            .filter_map(hold)
            .collect();
        let still = group.processes()?.seen;
        for (pid, pidfd) in held {
            if still.binary_search(&pid).is_err() {
                continue;
            }
            match pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) => drop(self.signalled.insert(pid)),
                Err(Errno::SRCH) => {}
                Err(errno) => self.refused = Some(errno),
            }
        }
        Ok(())
    }
}

fn hold(pid: u32) -> Option<(u32, OwnedFd)> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    Some((pid, pidfd_open(raw, PidfdFlags::empty()).ok()?))
}
