//! Signal handlers and seccomp filters, which no safe crate of ours offers: only victims need them.
//!
//! # Safety
//! The handler touches one atomic, which is async-signal-safe. The filter is a constant program that the kernel
//! checks.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// How often [`count_signal`]'s handler ran.
pub(crate) fn signals_seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Counts a signal from now on; its handler restarts system calls.
pub(crate) fn count_signal(signal: i32) {
    let handler = count as extern "C" fn(i32);
    // SAFETY: all-zero is a valid sigaction (no flags, empty mask); `count` is async-signal-safe and has the
    // signature that a handler without SA_SIGINFO needs.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// A seccomp filter under which `getppid(2)` answers `ENOSYS`, as a container's would for what it denies.
pub(crate) fn forbid_getppid() -> Result<(), String> {
    let statement = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf,
        k,
    };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 110),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | 38),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to four instructions that live through the call; the kernel copies them.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) != 0
    };
    if failed {
        return Err(format!("no filter: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}
