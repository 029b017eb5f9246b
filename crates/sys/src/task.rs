//! What can be asked about another thread without its help: robust list, scheduling.
//!
//! # Safety
//! Every out-pointer is to a value of our own of the size that the call writes.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::process::Pid;

/// Where a thread keeps its list of robust futexes (`get_robust_list(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RobustList {
    /// Address of the head; 0 for none.
    pub head: u64,
    /// Length of the head in bytes.
    pub length_bytes: u64,
}

/// Asks for the robust list of a thread.
///
/// # Errors
/// `EPERM`, `ESRCH`.
pub fn robust_list(tid: Pid) -> Result<RobustList, Errno> {
    let (mut head, mut length_bytes) = (0u64, 0u64);
    // SAFETY: both pointers are to words of ours, which is what the call writes on this 64-bit system.
    let result = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            tid.as_raw_pid(),
            &raw mut head,
            &raw mut length_bytes,
        )
    };
    check(result)?;
    Ok(RobustList { head, length_bytes })
}

/// How a thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`, with `SCHED_RESET_ON_FORK` where that is set.
    pub policy: u32,
    /// The nice value.
    pub nice: i32,
    /// Static priority of the real-time policies.
    pub priority: u32,
}

/// Asks how a thread is scheduled (`sched_getscheduler(2)`, `getpriority(2)`).
///
/// # Errors
/// `ESRCH`.
pub fn scheduling(tid: Pid) -> Result<Scheduling, Errno> {
    // SAFETY: a number in, a number out.
    let policy = check(unsafe { libc::syscall(libc::SYS_sched_getscheduler, tid.as_raw_pid()) })?;
    let mut priority = 0i32;
    // SAFETY: `sched_param` is one int on Linux.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_getparam,
            tid.as_raw_pid(),
            &raw mut priority,
        )
    })?;
    // SAFETY: numbers only; PRIO_PROCESS of a tid means that thread. The raw call gives 20 - nice.
    let nice = check(unsafe { libc::syscall(libc::SYS_getpriority, 0, tid.as_raw_pid()) })?;
    Ok(Scheduling {
        policy: u32::try_from(policy).unwrap_or_default(),
        nice: i32::try_from(20 - nice).unwrap_or_default(),
        priority: priority.unsigned_abs(),
    })
}

/// Sets how a thread is scheduled.
///
/// # Errors
/// `EPERM` for real-time policies without CAP_SYS_NICE; `EINVAL`.
pub fn set_scheduling(tid: Pid, wanted: Scheduling) -> Result<(), Errno> {
    let priority = wanted.priority;
    // SAFETY: `sched_param` is one int on Linux, only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            tid.as_raw_pid(),
            wanted.policy,
            &raw const priority,
        )
    })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setpriority, 0, tid.as_raw_pid(), wanted.nice) })?;
    Ok(())
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_thread_answers() {
        let me = rustix::thread::gettid();
        let list = robust_list(me).unwrap();
        assert_ne!(list.head, 0);
        assert_eq!(list.length_bytes, 24);
        let scheduling = scheduling(me).unwrap();
        set_scheduling(me, scheduling).unwrap();
        assert_eq!(super::scheduling(me).unwrap(), scheduling);
    }
}
