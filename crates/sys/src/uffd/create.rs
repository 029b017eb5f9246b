//! Making a userfaultfd: by the device, by the system call.
//!
//! # Safety
//! A fresh userfaultfd changes nothing: only registering does. So making one is safe.
#![allow(unsafe_code)]

use super::{Features, UFFDIO, register};
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::UserfaultfdFlags;

/// The device that hands out descriptors to whoever may open it (Linux 6.1).
pub const DEVICE: &std::ffi::CStr = c"/dev/userfaultfd";

/// The number of the device's `ioctl`, whose argument is [`CreateFlags`] (`USERFAULTFD_IOC_NEW`).
pub const IOC_NEW: u32 = rustix::ioctl::opcode::none(UFFDIO, 0);

bitflags::bitflags! {
    /// Flags of `userfaultfd(2)` and of [`IOC_NEW`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CreateFlags: u32 {
        /// Closed by `execve(2)`.
        const CLOEXEC = 0o2_000_000;
        /// Reading doesn't wait.
        const NONBLOCK = 0o4_000;
        /// Faults of the kernel in the process's stead are not served: made without privilege (Linux 5.11). Asynchronous
        /// write protection serves nobody, and misses nothing by it.
        const USER_MODE_ONLY = 1;
    }
}

/// Makes one for our own memory: only good for looking what the kernel can do, and for tests. Never
/// `UFFD_USER_MODE_ONLY`, under which a `read(2)` into a missing page fails.
///
/// # Errors
/// `EPERM` without CAP_SYS_PTRACE, the sysctl `vm.unprivileged_userfaultfd` and the device; `ENOSYS`.
pub fn create_here(flags: CreateFlags) -> Result<OwnedFd, Errno> {
    let by_device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .and_then(|device| by_device(device.as_fd(), flags));
    // SAFETY: the descriptor has no range registered yet, so no access to memory changes.
    by_device.or_else(|_| unsafe {
        rustix::mm::userfaultfd(UserfaultfdFlags::from_bits_retain(flags.bits()))
    })
}

fn by_device(device: std::os::fd::BorrowedFd<'_>, flags: CreateFlags) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: USERFAULTFD_IOC_NEW takes its flags by value and touches no memory of ours.
    let fd = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            libc::c_ulong::from(IOC_NEW),
            flags.bits(),
        )
    };
    if fd < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Everything that userfaultfd can do on this kernel.
///
/// # Errors
/// As [`create_here`].
pub fn features_of_this_kernel() -> Result<Features, Errno> {
    register::api(
        create_here(CreateFlags::CLOEXEC)?.as_fd(),
        Features::empty(),
    )
}
