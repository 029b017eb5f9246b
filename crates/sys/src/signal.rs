//! A signal counted: what a program needs that wants to know how often it was interrupted, and nothing else
//! (`sigaction(2)`).
//!
//! # Safety
//! The only handler there is adds one to an atomic, which is async-signal-safe (`signal-safety(7)`), so it may
//! interrupt anything.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTED: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_one(_: i32) {
    COUNTED.fetch_add(1, Ordering::Relaxed);
}

/// Counts a signal from now on, instead of what it did before. Calls that it interrupts are restarted.
///
/// # Errors
/// `EINVAL` for what is no signal, or can't be caught.
pub fn count(signal: i32) -> Result<(), Errno> {
    let handler = count_one as extern "C" fn(i32);
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is whole and lives through the call; its handler has the signature that one without
    // SA_SIGINFO needs; the old action is not asked for.
    let failed = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if failed == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// How many counted signals have come.
#[must_use]
pub fn counted() -> u64 {
    COUNTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn what_comes_is_counted() {
        count(libc::SIGUSR2).unwrap();
        let before = counted();
        kill_process(getpid(), Signal::USR2).unwrap();
        // Which thread of the test's takes it is the kernel's choice.
        while counted() == before {
            std::thread::yield_now();
        }
        assert_eq!(count(libc::SIGKILL), Err(Errno::INVAL));
    }
}
