//! A seccomp filter that denies one system call, as a container's does for what it forbids (`seccomp(2)`).
//!
//! # Safety
//! The filter is a program of four instructions that the kernel checks and copies; what it denies fails, and
//! nothing else changes.
#![allow(unsafe_code)]

use rustix::io::Errno;

/// From now on a call of this number answers `ENOSYS` to this thread and to what it starts. It can't be undone.
///
/// # Errors
/// As `prctl(2)`; `EINVAL` for a number that no call can have.
pub fn deny(call: libc::c_long) -> Result<(), Errno> {
    let call = u32::try_from(call).map_err(|_| Errno::INVAL)?;
    let statement = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(), // all codes of classic BPF fit
        jt: 0,
        jf,
        k,
    };
    let denied = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the call's number
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call),
        statement(libc::BPF_RET | libc::BPF_K, 0, denied),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: `program` points to four instructions that live through the call; the kernel copies them.
    let failed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: the filter dies with it.
    #[test]
    fn the_denied_call_fails_and_others_do_not() {
        let denied = std::thread::spawn(|| {
            assert!(std::io::pipe().is_ok());
            deny(libc::SYS_pipe2).unwrap();
            assert!(std::fs::File::open("/proc/self/stat").is_ok());
            std::io::pipe().err().and_then(|error| error.raw_os_error())
        });
        assert_eq!(denied.join().unwrap(), Some(libc::ENOSYS));
        assert_eq!(deny(-1), Err(Errno::INVAL));
    }
}
