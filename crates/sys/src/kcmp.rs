//! Whether two processes share a kernel object (`kcmp(2)`), here: an address space.
//!
//! # Safety
//! `kcmp(2)` takes numbers only and writes nowhere.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::cmp::Ordering;

/// How the address spaces of two processes compare: `Equal` is one and the same. The order of others means
/// nothing, but holds as long as both live, so that many processes can be sorted by it.
///
/// Two kernel threads compare equal: neither has any.
///
/// # Errors
/// `ESRCH` when one of them is gone, `EPERM` without leave to trace both, `ENOSYS` where the kernel was built
/// without `CONFIG_KCMP`.
pub fn address_spaces(one: u32, other: u32) -> Result<Ordering, Errno> {
    /// `enum kcmp_type`, `include/uapi/linux/kcmp.h`; the kernel's headers crate has no constant for it.
    const KCMP_VM: libc::c_long = 1;
    // SAFETY: all arguments are numbers, as the callee expects; the last two are ignored for KCMP_VM.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(one),
            libc::c_long::from(other),
            KCMP_VM,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    match answer {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        // 3: different, but with no order between them, which the kernel says of files only.
        _ => Err(Errno::NOTSUP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_shares_with_itself_only() {
        let me = std::process::id();
        assert_eq!(address_spaces(me, me), Ok(Ordering::Equal));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let there = address_spaces(me, child.id());
        let back = address_spaces(child.id(), me);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ne!(there, Ok(Ordering::Equal));
        assert_eq!(there.map(Ordering::reverse), back);
    }
}
