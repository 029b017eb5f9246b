//! What rustix has no call for of those who watch files: `fanotify(7)`, the number of the next watch of an inotify
//! instance (`INOTIFY_IOC_SETNEXTWD`, Linux 4.16, `CONFIG_CHECKPOINT_RESTORE`), and files by their handle
//! (`open_by_handle_at(2)`).
//!
//! # Safety
//! Each call gets numbers, a path that ends in NUL, or a pointer to one structure of the kernel's own layout, which lives
//! through the call.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::CStr;

/// A file handle, as `fdinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// Its type, a matter of the file system.
    pub kind: u32,
    /// At most 128 bytes.
    pub bytes: Vec<u8>,
}

const MOST_BYTES: usize = 128; // MAX_HANDLE_SZ

#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; MOST_BYTES],
}

/// Opens the file of a handle, for its path only (`O_PATH`); `of` is any file of the same file system.
///
/// # Errors
/// `ESTALE`: there is no such file; `EPERM`: without CAP_DAC_READ_SEARCH; `EOPNOTSUPP`.
pub fn open_by_handle(of: impl AsFd, handle: &Handle) -> Result<OwnedFd, Errno> {
    let mut raw = RawHandle {
        bytes: u32::try_from(handle.bytes.len()).map_err(|_| Errno::INVAL)?,
        kind: handle.kind.cast_signed(),
        handle: [0; MOST_BYTES],
    };
    let room = raw
        .handle
        .get_mut(..handle.bytes.len())
        .ok_or(Errno::INVAL)?;
    room.copy_from_slice(&handle.bytes);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let of = of.as_fd().as_raw_fd();
    // SAFETY: `raw` is a `struct file_handle` with as many bytes behind it as it says.
    let made = unsafe { libc::syscall(libc::SYS_open_by_handle_at, of, &raw const raw, flags) };
    owned(made)
}

/// The next watch of an inotify instance gets this number.
///
/// # Errors
/// `ENOTTY` on kernels without it.
pub fn set_next_watch(inotify: impl AsFd, number: i32) -> Result<(), Errno> {
    const INOTIFY_IOC_SETNEXTWD: libc::c_ulong = 0x4004_4900; // _IOW('I', 0, __s32), by value
    let fd = inotify.as_fd().as_raw_fd();
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(fd, INOTIFY_IOC_SETNEXTWD, libc::c_long::from(number)) })
}

/// `fanotify_init(2)`
///
/// # Errors
/// As that.
pub fn fanotify(flags: u32, event_flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fanotify_init, flags, event_flags) })
}

/// `fanotify_mark(2)`, `FAN_MARK_ADD`
///
/// # Errors
/// As that.
pub fn mark(group: impl AsFd, flags: u32, mask: u64, path: &CStr) -> Result<(), Errno> {
    let group = group.as_fd().as_raw_fd();
    let flags = flags | libc::FAN_MARK_ADD;
    // SAFETY: `path` ends in NUL and lives through the call.
    check(unsafe { libc::fanotify_mark(group, flags, mask, libc::AT_FDCWD, path.as_ptr()) })
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last_errno()),
    }
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(())
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    #[test]
    fn a_watch_gets_the_number_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let instance = init(CreateFlags::CLOEXEC).unwrap();
        set_next_watch(&instance, 7).unwrap();
        assert_eq!(add_watch(&instance, dir.path(), WatchFlags::CREATE), Ok(7));
        assert_eq!(set_next_watch(&instance, -1), Err(Errno::INVAL));
    }

    #[test]
    fn a_handle_that_is_too_long_or_unknown_is_refused() {
        plimsoll_testkit::need!(Root);
        let dir = std::fs::File::open("/").unwrap();
        let handle = |length| Handle {
            kind: 1,
            bytes: vec![0xff; length],
        };
        assert_eq!(
            open_by_handle(&dir, &handle(129)).unwrap_err(),
            Errno::INVAL
        );
        assert!(open_by_handle(&dir, &handle(8)).is_err());
    }
}
