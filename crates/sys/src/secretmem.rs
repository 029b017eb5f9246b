//! `memfd_secret(2)` (since Linux 5.14): memory that the kernel itself does not map.
//!
//! # Safety
//! One system call that takes a flag word and gives a new descriptor; no memory is handed over.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A new area, close-on-exec, of size 0: `ftruncate` gives it one, `mmap` its pages.
///
/// # Errors
/// `ENOSYS` where the kernel lacks it or it is switched off (`secretmem.enable`).
pub fn memfd_secret() -> io::Result<OwnedFd> {
    let flags = libc::c_long::from(libc::O_CLOEXEC);
    // SAFETY: takes a flag word by value and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, flags) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
