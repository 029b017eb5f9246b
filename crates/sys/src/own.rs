//! Ourselves, made ready to live on alone: a copy of us (`fork(2)`), descriptors that the next program does not get.
//!
//! # Safety
//! A fork copies one thread. Locks that others hold would stay locked in the child for ever, so a process that has
//! more threads than the one that asks is refused. `close_range(2)` with `CLOSE_RANGE_CLOEXEC` closes nothing.
#![allow(unsafe_code)]

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;

/// Which of the two we are after a fork.
#[derive(Debug)]
pub enum Forked {
    /// The one that was there before, with a handle of its child.
    Parent(OwnedFd),
    /// The copy.
    Child,
}

/// `fork(2)`, for a process of one thread.
///
/// # Errors
/// `EBUSY` when there are other threads; as `fork(2)` and `pidfd_open(2)`.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(Errno::BUSY.into());
    }
    // SAFETY: there is no other thread that could hold a lock or be in the middle of anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
            Ok(Forked::Parent(pidfd_open(pid, PidfdFlags::empty())?))
        }
    }
}

/// Whatever we inherited beyond the three standard descriptors is not handed on to programs that we execute. Before Linux
/// 5.11 nothing happens.
pub fn hand_on_standard_descriptors_only() {
    // SAFETY: with this flag it closes nothing: descriptors only become close-on-exec.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_there_is_no_fork() {
        // The test's own harness has one.
        let other = std::thread::spawn(std::thread::park);
        let refused = fork();
        other.thread().unpark();
        assert!(refused.is_err());
    }
}
