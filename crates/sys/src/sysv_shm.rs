//! System V shared memory: `shmget(2)`, `shmop(2)`, `shmctl(2)`.
//!
//! # Safety
//! A segment is attached only inside [`Segment::fill`], at an address that the kernel chooses, and detached before
//! that returns; no reference to its memory gets out.
#![allow(unsafe_code)]

use std::io;
use std::ptr;

/// A segment that outlives this process until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    shmid: libc::c_int,
    size: usize,
}

impl Segment {
    /// A new segment (`IPC_PRIVATE`) that only our user may attach.
    ///
    /// # Errors
    /// As `shmget(2)`.
    pub fn create(size: usize) -> io::Result<Self> {
        let flags = libc::IPC_CREAT | 0o600;
        // SAFETY: all arguments are plain values.
        let shmid = unsafe { libc::shmget(libc::IPC_PRIVATE, size, flags) };
        match shmid {
            -1 => Err(io::Error::last_os_error()),
            shmid => Ok(Self { shmid, size }),
        }
    }

    /// What `ipcs -m` calls it.
    #[must_use]
    pub fn shmid(self) -> i32 {
        self.shmid
    }

    /// Sets every byte; nobody is attached by us afterwards.
    ///
    /// # Errors
    /// As `shmat(2)` and `shmdt(2)`.
    pub fn fill(self, byte: u8) -> io::Result<()> {
        // SAFETY: with no address asked for, the kernel picks a free range of ours, and maps nothing over.
        let start = unsafe { libc::shmat(self.shmid, ptr::null(), 0) };
        if start.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the segment was created with `size` bytes and stays as large; all of it is mapped, writable.
        unsafe { ptr::write_bytes(start.cast::<u8>(), byte, self.size) };
        // SAFETY: `start` came from `shmat` just now, and no reference to its memory exists.
        match unsafe { libc::shmdt(start) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Removes it: its memory is free once nobody is attached.
    ///
    /// # Errors
    /// As `shmctl(2)`: `EINVAL` where it is gone already.
    pub fn remove(self) -> io::Result<()> {
        // SAFETY: `IPC_RMID` reads no buffer.
        match unsafe { libc::shmctl(self.shmid, libc::IPC_RMID, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
