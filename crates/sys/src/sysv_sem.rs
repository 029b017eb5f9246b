//! System V semaphores by their number: `semget(2)`, `semctl(2)`.
//!
//! # Safety
//! Single semaphores are asked for and set by plain numbers; `IPC_STAT` writes and `IPC_SET` reads one `semid_ds` that lives
//! through the call. The calls that fill arrays, whose length only the kernel knows, are not used.
#![allow(unsafe_code)]

use crate::sysv::{self, Permissions, answer};
use std::io;

/// What the kernel says of a set of semaphores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whose it is.
    pub permissions: Permissions,
    /// How many semaphores it has.
    pub count: u32,
}

/// Asks about a set.
///
/// # Errors
/// As `semctl(2)`: `EINVAL` or `EIDRM` where it is gone; `EACCES`.
pub fn status(semid: i32) -> io::Result<Status> {
    // SAFETY: all-zero is a valid `semid_ds`.
    let mut told: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `IPC_STAT` writes one `semid_ds`.
    answer(unsafe { libc::semctl(semid, 0, libc::IPC_STAT, &raw mut told) })?;
    Ok(Status {
        permissions: told.sem_perm.into(),
        count: u32::try_from(told.sem_nsems).unwrap_or(u32::MAX),
    })
}

/// A new set with this key, or none (0), that nobody else has made.
///
/// # Errors
/// As `semget(2)`: `EEXIST` where the key is taken.
pub fn create(key: i32, count: u32, mode: u32) -> io::Result<i32> {
    let flags = sysv::anew(mode);
    let count = i32::try_from(count).map_err(io::Error::other)?;
    // SAFETY: all arguments are plain values.
    answer(unsafe { libc::semget(key, count, flags) })
}

/// Gives a set to a user and a group.
///
/// # Errors
/// As `semctl(2)`.
pub fn give_to(semid: i32, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid `semid_ds`.
    let mut wanted: libc::semid_ds = unsafe { std::mem::zeroed() };
    sysv::give_to(&mut wanted.sem_perm, uid, gid, mode);
    // SAFETY: `IPC_SET` reads the structure, which lives through the call.
    answer(unsafe { libc::semctl(semid, 0, libc::IPC_SET, &raw mut wanted) }).map(drop)
}

/// The value of one semaphore.
///
/// # Errors
/// As `semctl(2)`.
pub fn value(semid: i32, number: u32) -> io::Result<u16> {
    let value = ask(semid, number, libc::GETVAL)?;
    u16::try_from(value).map_err(io::Error::other)
}

/// Which process was the last to operate on a semaphore; 0 for none, or one that has ended.
///
/// # Errors
/// As `semctl(2)`.
pub fn last_user(semid: i32, number: u32) -> io::Result<u32> {
    Ok(ask(semid, number, libc::GETPID)?.unsigned_abs())
}

fn ask(semid: i32, number: u32, what: libc::c_int) -> io::Result<libc::c_int> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    // SAFETY: neither question has a fourth argument.
    answer(unsafe { libc::semctl(semid, number, what) })
}

/// Sets the value of one semaphore.
///
/// # Errors
/// As `semctl(2)`: `ERANGE`.
pub fn set_value(semid: i32, number: u32, value: u16) -> io::Result<()> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    let value = libc::c_int::from(value);
    // SAFETY: the fourth argument is a plain number.
    answer(unsafe { libc::semctl(semid, number, libc::SETVAL, value) }).map(drop)
}

/// Removes a set.
///
/// # Errors
/// As `semctl(2)`: `EINVAL` where it is gone already.
pub fn remove(semid: i32) -> io::Result<()> {
    // SAFETY: `IPC_RMID` reads no buffer.
    answer(unsafe { libc::semctl(semid, 0, libc::IPC_RMID) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_of_until_it_is_removed() {
        let set = create(0, 3, 0o600).unwrap();
        set_value(set, 2, 32767).unwrap();
        let told = status(set).unwrap();
        assert_eq!(
            (
                told.permissions.key,
                told.count,
                told.permissions.mode & 0o777
            ),
            (0, 3, 0o600)
        );
        let values: Vec<u16> = (0..3).map(|number| value(set, number).unwrap()).collect();
        assert_eq!(values, [0, 0, 32767]);
        assert_eq!(last_user(set, 2).unwrap(), std::process::id());
        assert_eq!(last_user(set, 0).unwrap(), 0);
        give_to(set, told.permissions.uid, told.permissions.gid, 0o640).unwrap();
        assert_eq!(status(set).unwrap().permissions.mode & 0o777, 0o640);
        remove(set).unwrap();
        assert!(status(set).is_err() && value(set, 0).is_err());
    }
}
