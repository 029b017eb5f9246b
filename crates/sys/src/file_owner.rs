//! Who is told by which signal that an open file can be read or written (`fcntl(2)`, `F_SETOWN_EX`, `F_SETSIG`).
//!
//! # Safety
//! Each call gets a number, or a pointer to a structure of the size that the command asks for, which lives through it.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

/// The owner of an open file's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// `F_OWNER_TID` 0, `F_OWNER_PID` 1, `F_OWNER_PGRP` 2.
    pub kind: i32,
    /// Which thread, process or group; 0 for none.
    pub id: i32,
    /// The signal sent; 0 for the default, SIGIO.
    pub signal: i32,
    /// Real and effective user that the signal is sent as.
    pub users: (u32, u32),
}

const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;
const F_SETOWN_EX: libc::c_int = 15;
const F_GETOWN_EX: libc::c_int = 16;
const F_GETOWNER_UIDS: libc::c_int = 17;

#[repr(C)]
struct OwnerEx {
    kind: libc::c_int,
    pid: libc::c_int,
}

/// Asks for it.
///
/// # Errors
/// As `fcntl(2)`.
pub fn get(file: impl AsFd) -> Result<Owner, Errno> {
    let fd = file.as_fd().as_raw_fd();
    let mut owner = OwnerEx { kind: 0, pid: 0 };
    let mut users = [0u32; 2];
    // SAFETY: `owner` is a writable `struct f_owner_ex`.
    check(unsafe { libc::fcntl(fd, F_GETOWN_EX, &raw mut owner) })?;
    // SAFETY: `users` is room for two uids.
    let told = check(unsafe { libc::fcntl(fd, F_GETOWNER_UIDS, &raw mut users) });
    // SAFETY: no pointer is taken.
    let signal = check(unsafe { libc::fcntl(fd, F_GETSIG) })?;
    // Without CONFIG_CHECKPOINT_RESTORE nobody is told the users.
    let [real, effective] = if told.is_ok() { users } else { [0, 0] };
    Ok(Owner {
        kind: owner.kind,
        id: owner.pid,
        signal,
        users: (real, effective),
    })
}

/// Sets owner and signal; the users become our own.
///
/// # Errors
/// As `fcntl(2)`: `ESRCH` where nobody has this id.
pub fn set(file: impl AsFd, owner: &Owner) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    if owner.id != 0 {
        let to = OwnerEx {
            kind: owner.kind,
            pid: owner.id,
        };
        // SAFETY: `to` is a whole `struct f_owner_ex`, only read.
        check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const to) })?;
    }
    if owner.signal != 0 {
        // SAFETY: no pointer is taken.
        check(unsafe { libc::fcntl(fd, F_SETSIG, owner.signal) })?;
    }
    Ok(())
}

/// Takes the owner away: nobody is sent a signal.
///
/// # Errors
/// As `fcntl(2)`.
pub fn clear(file: impl AsFd) -> Result<(), Errno> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: no pointer is taken.
    check(unsafe { libc::fcntl(fd, libc::F_SETOWN, 0) }).map(drop)
}

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_taken_away() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let ours = Owner {
            kind: 1,
            id: rustix::process::getpid().as_raw_pid(),
            ..Owner::default()
        };
        set(&file, &ours).unwrap();
        assert_eq!(get(&file).unwrap().id, ours.id);
        clear(&file).unwrap();
        assert_eq!(get(&file).unwrap().id, 0);
    }

    #[test]
    fn what_is_set_can_be_asked_for() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(
            (get(&reader).unwrap().id, get(&reader).unwrap().signal),
            (0, 0)
        );
        let owner = Owner {
            kind: 1,
            id: rustix::process::getpid().as_raw_pid(),
            signal: libc::SIGUSR1,
            users: (0, 0),
        };
        set(&reader, &owner).unwrap();
        let found = get(&reader).unwrap();
        assert_eq!(
            (found.kind, found.id, found.signal),
            (1, owner.id, owner.signal)
        );
    }
}
