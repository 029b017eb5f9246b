//! Locks and leases, taken again by the processes that held them.

use super::super::crew::Crew;
use crate::error::Error;
use crate::snapshot::Snapshot;
use plimsoll_image::proto::FileLockEntry;

const FL_POSIX: u32 = 1;
const FL_FLOCK: u32 = 2;
const FL_LEASE: u32 = 8;
const FL_OFDLCK: u32 = 4;

/// Takes all of them.
pub(super) fn take(crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    for lock in &snapshot.locks {
        take_one(crew, lock)?;
    }
    Ok(())
}

fn take_one(crew: &mut Crew, lock: &FileLockEntry) -> Result<(), Error> {
    const F_OFD_SETLK: u64 = 37;
    let task = &mut crew.member(lock.pid.unsigned_abs())?.leader;
    let fd = u64::from(lock.fd.unsigned_abs());
    let number = |value: i32| u64::from(value.unsigned_abs());
    match lock.flag {
        FL_FLOCK => {
            let write = lock.r#type == libc::F_WRLCK.unsigned_abs();
            let how = if write { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
            task.call("lock a file for", libc::SYS_flock, [fd, number(how)])?;
        }
        FL_LEASE => {
            let args = [fd, number(libc::F_SETLEASE), lock.r#type.into()];
            task.call("take a lease for", libc::SYS_fcntl, args)?;
        }
        FL_POSIX | FL_OFDLCK => {
            // struct flock: type and whence (two shorts), padding, start, length, pid.
            let kind = u64::from(lock.r#type);
            let words = [
                kind,
                lock.start.cast_unsigned(),
                lock.len.cast_unsigned(),
                0,
            ];
            let at = task.argument(&words.map(u64::to_ne_bytes).concat())?;
            let command = if lock.flag == FL_POSIX {
                number(libc::F_SETLK)
            } else {
                F_OFD_SETLK
            };
            task.call("lock a file for", libc::SYS_fcntl, [fd, command, at])?;
        }
        other => {
            return Err(Error::inconsistent(format!(
                "a lock of kind {other}, which is not known"
            )));
        }
    }
    Ok(())
}
