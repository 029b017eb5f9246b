//! System V shared memory: `shmget(2)`, `shmop(2)`, `shmctl(2)`.
//!
//! # Safety
//! A segment is attached only inside [`Segment::fill`] and [`file()`], at an address that the kernel chooses, and detached before
//! they return; no reference to its memory gets out. Other calls get numbers, or one `shmid_ds` that lives through them.
#![allow(unsafe_code)]

use crate::sysv::{self, Permissions, answer};
use std::fs::{File, OpenOptions};
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
        let shmid = answer(unsafe { libc::shmget(libc::IPC_PRIVATE, size, flags) })?;
        Ok(Self { shmid, size })
    }

    /// A new segment with this key, or none (0), that nobody else has made.
    ///
    /// # Errors
    /// As `shmget(2)`: `EEXIST` where the key is taken.
    pub fn create_by_key(key: i32, size_bytes: u64, mode: u32) -> io::Result<Self> {
        let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
        let flags = sysv::anew(mode);
        // SAFETY: all arguments are plain values.
        let shmid = answer(unsafe { libc::shmget(key, size, flags) })?;
        Ok(Self { shmid, size })
    }

    /// Gives it to a user and a group.
    ///
    /// # Errors
    /// As `shmctl(2)`.
    pub fn give_to(self, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
        // SAFETY: all-zero is a valid `shmid_ds`.
        let mut wanted: libc::shmid_ds = unsafe { std::mem::zeroed() };
        sysv::give_to(&mut wanted.shm_perm, uid, gid, mode);
        // SAFETY: `IPC_SET` reads the structure, which lives through the call.
        answer(unsafe { libc::shmctl(self.shmid, libc::IPC_SET, &raw mut wanted) }).map(drop)
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
        answer(unsafe { libc::shmdt(start) }).map(drop)
    }

    /// Removes it: its memory is free once nobody is attached.
    ///
    /// # Errors
    /// As `shmctl(2)`: `EINVAL` where it is gone already.
    pub fn remove(self) -> io::Result<()> {
        remove(self.shmid)
    }
}

/// The file whose contents a segment's memory is, for reading and writing.
///
/// # Errors
/// As `shmat(2)`, and as `/proc/self/map_files` can't be used: `EPERM` without CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
pub fn file(shmid: i32, page_bytes: u64) -> io::Result<File> {
    let size_bytes = status(shmid)?.size_bytes;
    // SAFETY: with no address asked for, the kernel picks a free range of ours, and maps nothing over.
    let start = unsafe { libc::shmat(shmid, ptr::null(), 0) };
    if start.addr() == usize::MAX {
        return Err(io::Error::last_os_error());
    }
    let from = start.addr() as u64;
    let to = from.saturating_add(size_bytes.next_multiple_of(page_bytes.max(1)));
    let path = format!("/proc/self/map_files/{from:x}-{to:x}");
    let opened = OpenOptions::new().read(true).write(true).open(path);
    // SAFETY: `start` came from `shmat` just now, and no reference to its memory exists.
    answer(unsafe { libc::shmdt(start) })?;
    opened
}

/// Removes a segment by its number.
///
/// # Errors
/// As [`Segment::remove`].
pub fn remove(shmid: i32) -> io::Result<()> {
    // SAFETY: `IPC_RMID` reads no buffer.
    answer(unsafe { libc::shmctl(shmid, libc::IPC_RMID, ptr::null_mut()) }).map(drop)
}

/// What the kernel says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whose it is.
    pub permissions: Permissions,
    /// As it was made.
    pub size_bytes: u64,
    /// How often it is attached.
    pub attached: u64,
}

/// Asks about a segment by its number.
///
/// # Errors
/// As `shmctl(2)`: `EINVAL` or `EIDRM` where it is gone; `EACCES`.
pub fn status(shmid: i32) -> io::Result<Status> {
    // SAFETY: all-zero is a valid `shmid_ds`.
    let mut told: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `IPC_STAT` writes one `shmid_ds`.
    answer(unsafe { libc::shmctl(shmid, libc::IPC_STAT, &raw mut told) })?;
    Ok(Status {
        permissions: told.shm_perm.into(),
        size_bytes: told.shm_segsz as u64,
        attached: told.shm_nattch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_told_of_until_it_is_removed() {
        let segment = Segment::create(5000).unwrap();
        let told = status(segment.shmid()).unwrap();
        assert_eq!(
            (told.permissions.key, told.size_bytes, told.attached),
            (0, 5000, 0)
        );
        segment
            .give_to(told.permissions.uid, told.permissions.gid, 0o640)
            .unwrap();
        assert_eq!(
            status(segment.shmid()).unwrap().permissions.mode & 0o777,
            0o640
        );
        segment.remove().unwrap();
        assert!(status(segment.shmid()).is_err());
        assert!(segment.remove().is_err());
    }
}
