//! Locks and leases, taken again by the processes that held them; a lease that was being broken is broken again, silently.

use super::super::crew::Crew;
use super::{Files, itself, own};
use crate::error::Error;
use crate::lease;
use crate::snapshot::Snapshot;
use plimsoll_image::proto::{FileLockEntry, RegFileEntry};
use plimsoll_sys::file_owner;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const FL_POSIX: u32 = 1;
const FL_FLOCK: u32 = 2;
const FL_LEASE: u32 = 8;
const FL_OFDLCK: u32 = 4;

/// Takes all of them.
pub(super) fn take(files: &Files<'_>, crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    for lock in &snapshot.locks {
        let file = held_by(files, snapshot, lock).filter(|_| lock.flag == FL_LEASE);
        let broken = file.and_then(|(reg, file)| {
            let (was, mode) = lease::before(lock.r#type, reg.flags)?;
            Some((was, mode, reg, file))
        });
        match broken {
            Some((was, mode, reg, file)) => {
                let r#type = was.unsigned_abs();
                take_one(crew, &FileLockEntry { r#type, ..*lock })?;
                break_silently(file, mode, reg)?;
            }
            None => take_one(crew, lock)?,
        }
    }
    Ok(())
}

/// The open file that a lock was taken by.
fn held_by<'f>(
    files: &'f Files<'_>,
    snapshot: &'f Snapshot,
    lock: &FileLockEntry,
) -> Option<(&'f RegFileEntry, &'f OwnedFd)> {
    let mut processes = snapshot.processes.iter();
    let holder = processes.find(|process| process.pid() == lock.pid.unsigned_abs())?;
    let mut table = snapshot.tables.get(&holder.ids.files_id)?.iter();
    let descriptor = table.find(|descriptor| descriptor.fd == lock.fd.unsigned_abs())?;
    let reg = snapshot.files.get(&descriptor.id)?.reg.as_ref()?;
    Some((reg, files.made.get(&descriptor.id)?))
}

/// Begins to break a lease, as somebody had. Its holder has been told already, so nobody is now.
fn break_silently(file: &OwnedFd, mode: i32, reg: &RegFileEntry) -> Result<(), Error> {
    let failed =
        |errno: Errno| Error::file("break a lease on", OsStr::from_bytes(&reg.name), errno);
    file_owner::clear(file).map_err(failed)?;
    let mode = OFlags::from_bits_retain(mode.unsigned_abs());
    match open(
        itself(file),
        mode | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::AGAIN) | Ok(_) => {}
        Err(errno) => return Err(failed(errno)),
    }
    own(file, &reg.fown)
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
