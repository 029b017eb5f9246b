//! `memfd_secret(2)` (since Linux 5.14): memory that the kernel itself does not map.
//!
//! # Safety
//! The system call takes a flag word and gives a new descriptor. An area is mapped at an address that the kernel
//! chooses and stays mapped as long as the [`Area`] lives; its descriptor is not given out, so nobody else writes to it
//! or cuts it short.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

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

/// A mapped area that only this process sees.
#[derive(Debug)]
pub struct Area {
    start: NonNull<u8>,
    length: usize,
}

impl Area {
    /// Maps a new area of `length` bytes, all 0.
    ///
    /// # Errors
    /// As [`memfd_secret`]; `EAGAIN` beyond `RLIMIT_MEMLOCK`.
    pub fn new(length: usize) -> io::Result<Self> {
        let fd = memfd_secret()?;
        rustix::fs::ftruncate(&fd, length as u64)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: with no address asked for, the kernel picks a free range of ours, and maps nothing over.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// Its bytes, for reading.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes are mapped readable until `self` goes; only `&mut self` writes to them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// Its bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `length` bytes are mapped writable until `self` goes, and `&mut self` lets nobody else in.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
