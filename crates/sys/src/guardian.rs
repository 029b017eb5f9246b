//! A guardian: a process that does nothing but hold our descriptors, so that they outlive us.
//!
//! A descriptor that only one process holds is closed when that process is killed. A guardian is made by `clone(2)` with
//! `CLONE_FILES`: it has our very descriptor table, so whatever is opened by any of our threads is in it the same
//! instant. Others take a descriptor out of it with `pidfd_getfd(2)`, under the number that it had with us.
//!
//! It sleeps as long as we live. Then it closes all but userfaultfds (our locks and pipes with them), and ends when
//! the memory that those serve is gone. One that was never [trusted](Guardian::trust) ends with us: nobody would know
//! of it.
//!
//! # Safety
//! The clone has a copy of our memory in which other threads may have held any lock, that of the allocator too. So it
//! runs nothing but system calls on its own stack (rustix's are system calls without allocation or locks), with all
//! signals blocked, and never returns.
#![allow(unsafe_code)]

use crate::uffd;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::CStr;
use std::mem::{ManuallyDrop, MaybeUninit};

/// A guardian of this process. Dropped without [`Guardian::end`], it goes on.
#[derive(Debug)]
pub struct Guardian {
    pid: Pid,
    pidfd: OwnedFd,
    /// What it waits by; open as long as it lives.
    signs: ManuallyDrop<Signs>,
}

/// Descriptors that the guardian looks at.
#[derive(Debug)]
struct Signs {
    /// Readable when we have ended.
    us: OwnedFd,
    /// Not zero when the guardian was trusted.
    trusted: OwnedFd,
}

/// Between two looks whether anything is left to hold.
const PAUSE: rustix::time::Timespec = rustix::time::Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

impl Guardian {
    /// Makes one.
    ///
    /// # Errors
    /// As `clone(2)` and `pidfd_open(2)`.
    pub fn start() -> Result<Self, Errno> {
        let us = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        let trusted = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let signs = ManuallyDrop::new(Signs { us, trusted });
        let blocked = AllSignalsBlocked::new();
        let mut pidfd = -1;
        let flags = libc::CLONE_FILES | libc::CLONE_PIDFD; // and no signal when it ends
        // SAFETY: without CLONE_VM the clone has its own copy of this stack; the kernel writes a descriptor to `pidfd`,
        // which lives. What the clone does is said in the header.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone,
                libc::c_long::from(flags),
                0usize,
                &raw mut pidfd,
                0usize,
                0usize,
            )
        };
        if pid == 0 {
            hold(&signs);
        }
        let failed = std::io::Error::last_os_error();
        drop(blocked);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            drop(ManuallyDrop::into_inner(signs));
            return Err(Errno::from_io_error(&failed).unwrap_or(Errno::IO));
        };
        Ok(Self {
            pid,
            // SAFETY: CLONE_PIDFD has just made this descriptor, and nobody else knows it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            signs,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// From now on it outlives us: whoever comes after us knows of it.
    pub fn trust(&self) {
        let _ = rustix::io::write(&self.signs.trusted, &1u64.to_ne_bytes());
    }

    /// Ends it, unless somebody has, and reaps it.
    pub fn end(mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        // __WALL: a child that ends without a signal is waited for only so.
        let how = WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(0x4000_0000);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), how)
        });
        // SAFETY: the value is gone after this, and the guardian that looked at them too.
        unsafe { ManuallyDrop::drop(&mut self.signs) };
    }
}

/// Readable once the guardian has ended.
impl AsFd for Guardian {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// What the guardian does.
fn hold(signs: &Signs) -> ! {
    // Out of the reach of signals to our group; named for who looks at it; spared by the kernel when memory runs out,
    // where we may ask that.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"plimsoll-guard");
    let spared = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty());
    if let Ok(spared) = spared {
        let _ = rustix::io::write(&spared, b"-1000");
    }
    let mut end = [PollFd::new(&signs.us, PollFlags::IN)];
    while rustix::io::retry_on_intr(|| poll(&mut end, None)).is_err() {}
    if rustix::io::read(&signs.trusted, &mut [0u8; 8]).is_ok() {
        while serves_any() {
            let _ = rustix::thread::nanosleep(&PAUSE);
        }
    }
    // SAFETY: ends this process without running anything of the program that it is a copy of.
    unsafe { libc::_exit(0) }
}

/// Closes every descriptor that is no userfaultfd; says whether one of the others serves memory that still lives.
fn serves_any() -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty()) else {
        return true; // no way to know: hold on
    };
    let mut serves = false;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    let mut names = RawDir::new(&dir, &mut buffer);
    while let Some(Ok(name)) = names.next() {
        let Some(number) = number(name.file_name()) else {
            continue;
        };
        if number == dir.as_raw_fd() {
            continue;
        }
        let mut link = [MaybeUninit::<u8>::uninit(); 64];
        let link = rustix::fs::readlinkat_raw(&dir, name.file_name(), &mut link);
        let is_uffd = link.is_ok_and(|(link, _)| *link == *b"anon_inode:[userfaultfd]");
        if is_uffd {
            // SAFETY: the descriptor was listed just now, and nobody else shares the table any more.
            serves |= uffd::serves(unsafe { BorrowedFd::borrow_raw(number) });
        } else {
            // SAFETY: as above; nothing in this process uses it any more.
            let _ = unsafe { libc::close(number) };
        }
    }
    serves
}

fn number(name: &CStr) -> Option<i32> {
    let mut number = 0i32;
    for digit in name.to_bytes() {
        let digit = char::from(*digit).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add_unsigned(digit)?;
    }
    Some(number)
}

/// All signals of this thread wait until this is dropped; what is cloned meanwhile never gets any.
struct AllSignalsBlocked(libc::sigset_t);

impl AllSignalsBlocked {
    fn new() -> Self {
        // SAFETY: both sets live through the calls that fill them.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for AllSignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the kernel; the old one is not asked for.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

    fn has_ended(guardian: &Guardian) -> bool {
        let mut end = [PollFd::new(guardian, PollFlags::IN)];
        poll(&mut end, Some(&rustix::time::Timespec::default())).unwrap() == 1
    }

    #[test]
    fn what_is_opened_later_can_be_taken_from_it() {
        let guardian = Guardian::start().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let taken = pidfd_getfd(&guardian, reader.as_raw_fd(), PidfdGetfdFlags::empty()).unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(rustix::io::read(&taken, &mut [0u8; 4]), Ok(1));
        assert!(!has_ended(&guardian));
        guardian.end();
    }

    #[test]
    fn numbers_are_read_and_nothing_else() {
        assert_eq!(number(c"120"), Some(120));
        assert_eq!((number(c"."), number(c"99999999999")), (None, None));
    }
}
