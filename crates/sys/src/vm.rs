//! Another process's memory: `process_vm_readv(2)`, `process_vm_writev(2)`, `process_madvise(2)`.
//!
//! Two warnings for who reads. An absent page in a range armed by userfaultfd blocks the reader until somebody
//! fills it, for ever if that somebody is the reader. And a page shared by `fork(2)` is copied in the *target*
//! by the mere read: such pages (bit 56 of pagemap is clear) are read through `/proc/PID/mem`, which doesn't.
//!
//! # Safety
//! The local buffers are slices, so the kernel stays inside them; remote addresses are checked by the kernel
//! against the target's memory and can't touch ours unless the target is ourselves.
#![allow(unsafe_code)]

use crate::Span;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::c_void;

/// Most ranges that one call takes (`UIO_MAXIOV`).
pub const MAX_SPANS: usize = 1024;

/// Reads `spans` of a process, one after the other, into `into`; gives the bytes read, which are fewer than
/// asked where a page could not be read. At most [`MAX_SPANS`] of them are looked at.
///
/// # Errors
/// `EPERM`; `ESRCH`; `EFAULT` when the very first page can't be read.
pub fn read(pid: Pid, spans: &[Span], into: &mut [u8]) -> Result<usize, Errno> {
    let remote = remote_iovecs(spans);
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast::<c_void>(),
        iov_len: into.len(),
    };
    // SAFETY: `local` is the writable slice `into`; `remote` is an array of `remote.len()` entries that the kernel
    // reads; its addresses belong to the target.
    let done = unsafe {
        libc::process_vm_readv(
            pid.as_raw_pid(),
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as u64,
            0,
        )
    };
    usize::try_from(done).map_err(|_| last_errno())
}

/// Writes `from` at `address` of a process; gives the bytes written, fewer where a page could not be written.
/// Read-only pages are not written (unlike through `/proc/PID/mem`).
///
/// # Errors
/// As [`read`].
pub fn write(pid: Pid, address: u64, from: &[u8]) -> Result<usize, Errno> {
    let remote = remote_iovecs(&[Span::new(address, from.len() as u64)]);
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: from.len(),
    };
    // SAFETY: `local` is only read, and is the slice `from`; as for `remote` in `read`.
    let done = unsafe {
        libc::process_vm_writev(
            pid.as_raw_pid(),
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as u64,
            0,
        )
    };
    usize::try_from(done).map_err(|_| last_errno())
}

/// What [`advise`] can ask for another process's pages: nothing that could lose their contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Make them the first to be reclaimed (`MADV_COLD`, Linux 5.10).
    Cold,
    /// Reclaim them now (`MADV_PAGEOUT`, Linux 5.10).
    PageOut,
    /// Read them ahead (`MADV_WILLNEED`, Linux 5.10).
    WillNeed,
    /// Make huge pages of them (`MADV_COLLAPSE`, Linux 6.1).
    Collapse,
}

/// `process_madvise(2)`: advises about `spans` of the process behind `pidfd`; gives the bytes advised, fewer
/// than asked where a range was refused. At most [`MAX_SPANS`] of them are looked at.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE and ptrace read access; `EINVAL` for advice this kernel lacks; `ENOMEM` for an
/// unmapped range at the beginning; `ESRCH`.
pub fn advise(pidfd: impl AsFd, spans: &[Span], advice: Advice) -> Result<u64, Errno> {
    let remote = remote_iovecs(spans);
    let advice = match advice {
        Advice::Cold => libc::MADV_COLD,
        Advice::PageOut => libc::MADV_PAGEOUT,
        Advice::WillNeed => libc::MADV_WILLNEED,
        Advice::Collapse => libc::MADV_COLLAPSE,
    };
    // SAFETY: `remote` is an array of `remote.len()` entries that the kernel reads; the advice can't change the
    // contents of any page, in any process.
    let done = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            pidfd.as_fd().as_raw_fd(),
            remote.as_ptr(),
            remote.len(),
            advice,
            0,
        )
    };
    u64::try_from(done).map_err(|_| last_errno())
}

fn remote_iovecs(spans: &[Span]) -> Vec<libc::iovec> {
    let whole = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    spans
        .iter()
        .take(MAX_SPANS)
        .map(|span| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(whole(span.start)),
            iov_len: whole(span.len()),
        })
        .collect()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
