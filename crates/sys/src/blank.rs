//! A task that does nothing, with a pid that we choose: what a restored process is made of (`clone3(2)`, Linux 5.3;
//! `set_tid`, 5.5).
//!
//! It is a copy of this process that never returns to its code: it waits to be seized and given an address space,
//! descriptors and registers from outside. It dies with us until that has happened.
//!
//! # Safety
//! The child of a `fork(2)` may be a copy of a process with other threads, whose locks are held for ever in it. So it
//! makes raw system calls only, allocates nothing, takes no lock, and never returns.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::process::Pid;

/// Whose child the task becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// Ours: we are told of its end.
    Child,
    /// Our parent's (`CLONE_PARENT`), which is told of its end then.
    Sibling,
}

/// Makes a task with this pid.
///
/// # Errors
/// `EEXIST`: the pid is taken; `EPERM`: without CAP_CHECKPOINT_RESTORE; `EAGAIN`.
pub fn spawn(pid: Pid, kinship: Kinship) -> Result<Pid, Errno> {
    let wanted = [pid.as_raw_pid()];
    // SAFETY: all-zero is a valid `clone_args`: no flags, no pointers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_CLEAR_SIGHAND;
    match kinship {
        Kinship::Child => args.exit_signal = libc::SIGCHLD.unsigned_abs().into(),
        Kinship::Sibling => args.flags |= libc::CLONE_PARENT.unsigned_abs() as u64,
    }
    args.set_tid = wanted.as_ptr() as u64;
    args.set_tid_size = 1;
    let us = rustix::process::getpid();
    // SAFETY: `args` is whole, `set_tid` points to one pid that lives through the call; without CLONE_VM the child
    // has memory of its own, so that no stack is shared. What it does is in `wait_for_ever`.
    let made = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    let failed = || Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    match i32::try_from(made) {
        Ok(0) => wait_for_ever(us, kinship),
        Ok(made) if made > 0 => Pid::from_raw(made).ok_or_else(failed),
        _ => Err(failed()),
    }
}

/// `CLONE_CLEAR_SIGHAND` (Linux 5.5): no handler of ours is inherited.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

fn wait_for_ever(parent: Pid, kinship: Kinship) -> ! {
    // SAFETY: numbers only; nothing of this process's memory is touched.
    unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL,
            0,
            0,
            0,
        );
        // We died before that took hold. (The parent of a sibling is not the one that made it.)
        if kinship == Kinship::Child
            && libc::syscall(libc::SYS_getppid) != i64::from(parent.as_raw_pid())
        {
            libc::syscall(libc::SYS_exit_group, 1);
        }
        loop {
            libc::syscall(libc::SYS_pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, WaitOptions, getpid, getppid, kill_process, waitpid};

    #[test]
    fn a_pid_that_is_taken_is_refused() {
        // Without the privilege the kernel says so first.
        let refused = spawn(getpid(), Kinship::Child).unwrap_err();
        assert!(matches!(refused, Errno::EXIST | Errno::PERM));
        assert_ne!(Some(getpid()), getppid());
    }

    #[test]
    fn it_waits_until_it_is_killed() {
        plimsoll_testkit::need!(Root); // the test above sees EPERM
        let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
        let most: i32 = most.trim().parse().unwrap();
        let mut far = (most - 100..most).rev().filter_map(Pid::from_raw);
        let child = far.find_map(|pid| spawn(pid, Kinship::Child).ok());
        let child = child.unwrap();
        kill_process(child, Signal::KILL).unwrap();
        let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    }
}
