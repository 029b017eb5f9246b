//! The raw requests, by the shape of what they carry.
//!
//! # Safety
//! `ptrace(2)` reads and writes our memory only where a request's `addr` or `data` is a pointer. Each function
//! here makes that pointer itself, from a reference to a value (or slice) of the size that it tells the
//! kernel, so no caller can pass a wrong one.
#![allow(unsafe_code)]

use super::Error;
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::c_void;
use zerocopy::{FromBytes, IntoBytes};

/// A request that carries plain numbers.
pub(super) fn plain(
    operation: &'static str,
    request: u32,
    tid: Pid,
    addr: usize,
    data: usize,
) -> Result<(), Error> {
    debug_assert!(!carries_pointer(request));
    // SAFETY: the requests that come here (see `carries_pointer`) take numbers, so no memory of ours is touched.
    unsafe { raw(operation, request, tid, addr, data) }.map(drop)
}

/// A request whose `data` points to a value that the kernel fills; gives what the call returned.
pub(super) fn read<T: FromBytes + IntoBytes>(
    operation: &'static str,
    request: u32,
    tid: Pid,
    addr: usize,
    into: &mut [T],
) -> Result<usize, Error> {
    // SAFETY: `into` is writable, and callers state its size in `addr` where the request asks for it (or the
    // request writes exactly one T); T is FromBytes, so any bytes are a valid value.
    unsafe { raw(operation, request, tid, addr, into.as_mut_ptr() as usize) }
}

/// A request whose `data` points to a value that the kernel reads.
pub(super) fn write<T: IntoBytes>(
    operation: &'static str,
    request: u32,
    tid: Pid,
    addr: usize,
    from: &T,
) -> Result<(), Error> {
    let data = std::ptr::from_ref(from) as usize;
    // SAFETY: `from` is readable and holds one T, which is what the request reads.
    unsafe { raw(operation, request, tid, addr, data) }.map(drop)
}

/// `PTRACE_PEEKSIGINFO`: fills `into` with queued signals, gives how many there were.
pub(super) fn peek_siginfo(
    tid: Pid,
    args: &linux_raw_sys::ptrace::ptrace_peeksiginfo_args,
    into: &mut [super::SigInfo],
) -> Result<usize, Error> {
    let (addr, data) = (
        std::ptr::from_ref(args) as usize,
        into.as_mut_ptr() as usize,
    );
    let request = linux_raw_sys::ptrace::PTRACE_PEEKSIGINFO;
    debug_assert!(usize::try_from(args.nr).is_ok_and(|nr| nr <= into.len()));
    // SAFETY: `args` is read; at most `args.nr` entries of 128 bytes are written, and `into` has that many.
    unsafe { raw("peek at the signals of", request, tid, addr, data) }
}

/// `PTRACE_GETREGSET`: fills `into` with the register set `note` and gives its length in bytes, which is
/// `into.len()` when the set may be longer.
pub(super) fn get_regset(tid: Pid, note: u32, into: &mut [u8]) -> Result<usize, Error> {
    let mut iov = libc::iovec {
        iov_base: into.as_mut_ptr().cast::<c_void>(),
        iov_len: into.len(),
    };
    let data = std::ptr::from_mut(&mut iov) as usize;
    let request = linux_raw_sys::ptrace::PTRACE_GETREGSET;
    // SAFETY: the kernel writes at most `iov_len` bytes to `iov_base`, which is `into`, and the length to `iov`.
    unsafe { raw("read the registers of", request, tid, note as usize, data) }?;
    Ok(iov.iov_len)
}

/// `PTRACE_SETREGSET` of the register set `note`.
pub(super) fn set_regset(tid: Pid, note: u32, from: &[u8]) -> Result<(), Error> {
    let mut iov = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: from.len(),
    };
    let data = std::ptr::from_mut(&mut iov) as usize;
    let request = linux_raw_sys::ptrace::PTRACE_SETREGSET;
    // SAFETY: the kernel only reads from `iov_base`, at most `iov_len` bytes, which is `from`; it writes to `iov`.
    unsafe { raw("set the registers of", request, tid, note as usize, data) }.map(drop)
}

fn carries_pointer(request: u32) -> bool {
    use linux_raw_sys::ptrace as p;
    ![
        p::PTRACE_SEIZE,
        p::PTRACE_INTERRUPT,
        p::PTRACE_LISTEN,
        p::PTRACE_CONT,
        p::PTRACE_SYSCALL,
        p::PTRACE_DETACH,
        p::PTRACE_SETOPTIONS,
    ]
    .contains(&request)
}

/// # Safety
/// Where `request` takes a pointer, it must be one to memory of the size and kind that `ptrace(2)` says.
unsafe fn raw(
    operation: &'static str,
    request: u32,
    tid: Pid,
    addr: usize,
    data: usize,
) -> Result<usize, Error> {
    // SAFETY: the caller's promise. The system call itself, because glibc's wrapper treats PEEK requests apart.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::c_ulong::from(request),
            libc::c_long::from(tid.as_raw_pid()),
            addr,
            data,
        )
    };
    usize::try_from(result).map_err(|_| Error {
        operation,
        tid,
        errno: Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO),
    })
}
