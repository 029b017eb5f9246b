//! Whether two processes share a kernel object (`kcmp(2)`): an address space, a descriptor table, an open file, …
//!
//! # Safety
//! `kcmp(2)` writes nowhere. It takes numbers, and for a file in an epoll instance the address of a
//! `struct kcmp_epoll_slot`, which it reads.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::cmp::Ordering;

/// What two tasks may share (`include/uapi/linux/kcmp.h`; the kernel's headers crate has no constants for them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// `KCMP_VM`: memory.
    Memory = 1,
    /// `KCMP_FILES`: the descriptor table.
    Descriptors = 2,
    /// `KCMP_FS`: root, working directory, umask.
    Fs = 3,
    /// `KCMP_SIGHAND`: signal handlers.
    Handlers = 4,
    /// `KCMP_SYSVSEM`: the list of what is undone on semaphores when the last who shares it ends. None is the same as none.
    SemaphoreUndo = 6,
}

/// How what two tasks hold compares: `Equal` is one and the same object. The order of others means nothing, but holds as
/// long as both live, so that many can be sorted by it.
///
/// Two kernel threads share their memory: neither has any.
///
/// # Errors
/// `ESRCH` when one of them is gone, `EPERM` without leave to trace both, `ENOSYS` where the kernel was built
/// without `CONFIG_KCMP`.
pub fn compare(what: Shared, one: u32, other: u32) -> Result<Ordering, Errno> {
    kcmp(one, other, what as libc::c_long, 0, 0)
}

/// [`compare`] for address spaces.
///
/// # Errors
/// As [`compare`].
pub fn address_spaces(one: u32, other: u32) -> Result<Ordering, Errno> {
    compare(Shared::Memory, one, other)
}

/// How the open files behind two descriptors (process, number) compare (`KCMP_FILE`).
///
/// # Errors
/// As [`compare`]; `EBADF`.
pub fn files(one: (u32, u32), other: (u32, u32)) -> Result<Ordering, Errno> {
    const KCMP_FILE: libc::c_long = 0;
    kcmp(one.0, other.0, KCMP_FILE, one.1.into(), other.1.into())
}

fn kcmp(
    one: u32,
    other: u32,
    kind: libc::c_long,
    first: u64,
    second: u64,
) -> Result<Ordering, Errno> {
    // SAFETY: all arguments are numbers for the kinds that come here.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(one),
            libc::c_long::from(other),
            kind,
            first,
            second,
        )
    };
    match answer {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        // 3: different, but with no order between them, which the kernel says of files that it can't compare.
        _ => Err(Errno::NOTSUP),
    }
}

/// One of the files that an epoll instance watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollTarget {
    /// The instance's descriptor.
    pub epoll: u32,
    /// The number that the file was added by.
    pub number: u32,
    /// Which one, of those added by that number.
    pub nth: u32,
}

/// Whether the descriptor `fd` of a process is the file that is in its epoll instance `epoll_fd` under that number:
/// the `nth` of several. The number may have been given to another file since.
///
/// # Errors
/// As [`is_target`].
pub fn is_member(pid: u32, fd: i32, epoll_fd: i32, nth: u32) -> Result<bool, Errno> {
    let target = EpollTarget {
        epoll: epoll_fd.cast_unsigned(),
        number: fd.cast_unsigned(),
        nth,
    };
    is_target((pid, fd.cast_unsigned()), pid, target)
}

/// Whether a descriptor (process, number) is what an epoll instance of the process `pid` watches.
///
/// # Errors
/// As [`address_spaces`]; `ENOENT` where the instance has no such target; `EBADF`.
pub fn is_target(descriptor: (u32, u32), pid: u32, target: EpollTarget) -> Result<bool, Errno> {
    /// `enum kcmp_type`
    const KCMP_EPOLL_TFD: libc::c_long = 7;
    /// `struct kcmp_epoll_slot`
    #[repr(C)]
    struct Slot {
        epoll_fd: u32,
        fd: u32,
        nth: u32,
    }
    let slot = Slot {
        epoll_fd: target.epoll,
        fd: target.number,
        nth: target.nth,
    };
    let slot = &raw const slot;
    // SAFETY: all arguments but the last are numbers; that one is the address of a whole slot, which lives through
    // the call and is only read.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(descriptor.0),
            libc::c_long::from(pid),
            KCMP_EPOLL_TFD,
            libc::c_long::from(descriptor.1),
            slot,
        )
    };
    match answer {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        answer => Ok(answer == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn a_process_shares_with_itself_only() {
        let me = std::process::id();
        assert_eq!(address_spaces(me, me), Ok(Ordering::Equal));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let there = address_spaces(me, child.id());
        let back = address_spaces(child.id(), me);
        let tables = compare(Shared::Descriptors, me, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ne!(there, Ok(Ordering::Equal));
        assert_eq!(there.map(Ordering::reverse), back);
        assert_ne!(tables, Ok(Ordering::Equal));
    }

    #[test]
    fn a_duplicate_is_the_same_file() {
        let me = std::process::id();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let number = |fd: &dyn AsRawFd| (me, fd.as_raw_fd().unsigned_abs());
        let duplicate = file.as_fd().try_clone_to_owned().unwrap();
        let other = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(
            files(number(&file), number(&duplicate)),
            Ok(Ordering::Equal)
        );
        assert_ne!(files(number(&file), number(&other)), Ok(Ordering::Equal));
    }

    #[test]
    fn members_of_an_epoll_instance() {
        use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create};
        use std::os::fd::AsRawFd;
        let me = std::process::id();
        let instance = create(CreateFlags::CLOEXEC).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        add(&instance, &reader, EventData::new_u64(0), EventFlags::IN).unwrap();
        let number = instance.as_raw_fd();
        assert_eq!(is_member(me, reader.as_raw_fd(), number, 0), Ok(true));
        let other = is_member(me, writer.as_raw_fd(), number, 0);
        assert_eq!(other, Err(Errno::NOENT));
    }
}
