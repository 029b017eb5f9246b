//! The last resort: SIGSTOP. Their parents see it, as job control would show it.

use super::{FreezeError, Member};
use crate::tree::threads;
use plimsoll_proc::Root;
use plimsoll_proc::process::stat::Stat;
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};
use std::time::{Duration, Instant};

pub(super) fn stop(members: &[Member]) -> Result<(), FreezeError> {
    each_running(members, Signal::STOP)
}

/// SIGCONT to those that ran before, and still are the ones they were.
pub(super) fn go_on(root: &Root, members: &[Member]) -> Result<(), FreezeError> {
    let mut alive = Vec::new();
    for member in members {
        if member.name.lives(root)? {
            alive.push(*member);
        }
    }
    each_running(&alive, Signal::CONT)
}

fn each_running(members: &[Member], signal: Signal) -> Result<(), FreezeError> {
    for member in members.iter().filter(|member| !member.stopped_before) {
        let Some(pid) = member.name.pid() else {
            continue;
        };
        match kill_process(pid, signal) {
            Err(errno) if errno != Errno::SRCH => {
                return Err(FreezeError::Signal {
                    pid: member.name.pid,
                    errno,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Waits until every thread is in state `T`.
pub(super) fn confirm(
    root: &Root,
    members: &[Member],
    timeout: Duration,
) -> Result<(), FreezeError> {
    let begun = Instant::now();
    for member in members {
        while !stands(root, member.name.pid)? {
            if begun.elapsed() >= timeout {
                return Err(FreezeError::Slow {
                    what: format!("process {}", member.name.pid),
                    waited: begun.elapsed(),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn stands(root: &Root, pid: u32) -> Result<bool, FreezeError> {
    for tid in threads(root, pid)? {
        let text = match root.read(format!("proc/{pid}/task/{}/stat", tid.as_raw_pid())) {
            Err(error) if error.is_gone() => continue,
            text => text?,
        };
        if Stat::parse(&text).is_ok_and(|stat| !matches!(stat.state, b'T' | b't' | b'Z' | b'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}
