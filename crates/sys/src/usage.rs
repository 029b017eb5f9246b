//! What a child used, told when it is reaped (`wait4(2)`, `getrusage(2)`).
//!
//! # Safety
//! `wait4(2)` writes one `int` and one `struct rusage`, both given by reference to live values.
#![allow(unsafe_code)]

use plimsoll_units::Bytes;
use rustix::io::Errno;
use std::time::Duration;

/// What a process that has ended used over its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Whether it exited with 0.
    pub succeeded: bool,
    /// CPU time in its own code and in the kernel for it, waited-for children included.
    pub cpu: Duration,
    /// The most memory that it, or the largest of its children, had resident.
    pub peak_rss: Bytes,
}

/// Waits for the end of the child `pid` and reaps it.
///
/// # Errors
/// `ECHILD` when it is no child of this process, or was reaped already.
pub fn wait(pid: u32) -> Result<Usage, Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::CHILD)?;
    let mut status = 0;
    // SAFETY: `rusage` is a C struct of integers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `status` and `usage` live through the call and are of the types that it writes.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if reaped == pid {
            break;
        }
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        if errno != Errno::INTR {
            return Err(errno);
        }
    }
    Ok(Usage {
        succeeded: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_rss: Bytes::from_kib(u64::try_from(usage.ru_maxrss).unwrap_or(0)),
    })
}

/// The kernel gives no negative times here; one would count as none.
fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_is_reaped_with_its_usage() {
        let child = |script| {
            let child = Command::new("sh").args(["-c", script]).spawn();
            child.unwrap().id()
        };
        let busy = child("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
        let usage = wait(busy).unwrap();
        assert!(usage.succeeded && usage.cpu > Duration::ZERO && usage.peak_rss > Bytes::ZERO);
        assert!(!wait(child("exit 3")).unwrap().succeeded);
        assert_eq!(wait(busy), Err(Errno::CHILD));
    }
}
