//! Whether two processes share a kernel object (`kcmp(2)`): an address space, or a file in an epoll instance.
//!
//! # Safety
//! `kcmp(2)` writes nowhere. It takes numbers, and for a file in an epoll instance the address of a
//! `struct kcmp_epoll_slot`, which it reads.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::cmp::Ordering;

/// How the address spaces of two processes compare: `Equal` is one and the same. The order of others means
/// nothing, but holds as long as both live, so that many processes can be sorted by it.
///
/// Two kernel threads compare equal: neither has any.
///
/// # Errors
/// `ESRCH` when one of them is gone, `EPERM` without leave to trace both, `ENOSYS` where the kernel was built
/// without `CONFIG_KCMP`.
pub fn address_spaces(one: u32, other: u32) -> Result<Ordering, Errno> {
    /// `enum kcmp_type`, `include/uapi/linux/kcmp.h`; the kernel's headers crate has no constant for it.
    const KCMP_VM: libc::c_long = 1;
    // SAFETY: all arguments are numbers, as the callee expects; the last two are ignored for KCMP_VM.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(one),
            libc::c_long::from(other),
            KCMP_VM,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    match answer {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        // 3: different, but with no order between them, which the kernel says of files only.
        _ => Err(Errno::NOTSUP),
    }
}

/// Whether the descriptor `fd` of a process is the file that is in its epoll instance `epoll_fd` under that number:
/// the `nth` of several. The number may have been given to another file since.
///
/// # Errors
/// As [`address_spaces`]; `ENOENT` where the instance has no such member.
pub fn is_member(pid: u32, fd: i32, epoll_fd: i32, nth: u32) -> Result<bool, Errno> {
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
        epoll_fd: epoll_fd.cast_unsigned(),
        fd: fd.cast_unsigned(),
        nth,
    };
    let slot = &raw const slot;
    // SAFETY: all arguments but the last are numbers; that one is the address of a whole slot, which lives through
    // the call and is only read.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(pid),
            libc::c_long::from(pid),
            KCMP_EPOLL_TFD,
            libc::c_long::from(fd),
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
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ne!(there, Ok(Ordering::Equal));
        assert_eq!(there.map(Ordering::reverse), back);
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
