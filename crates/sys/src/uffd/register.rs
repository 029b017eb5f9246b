//! The handshake, and ranges armed and disarmed.
//!
//! # Safety
//! The `ioctl`s here take structures of the kernel's own layout (`linux-raw-sys`), by a reference that lives
//! through the call, and write nothing but those.
#![allow(unsafe_code)]

use super::{Features, UFFDIO, Uffd};
use crate::Span;
use linux_raw_sys::general::{uffdio_api, uffdio_range, uffdio_register};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

const API: Opcode = opcode::read_write::<uffdio_api>(UFFDIO, 0x3f);
const REGISTER: Opcode = opcode::read_write::<uffdio_register>(UFFDIO, 0x00);
const UNREGISTER: Opcode = opcode::read::<uffdio_range>(UFFDIO, 0x01);
const WAKE: Opcode = opcode::read::<uffdio_range>(UFFDIO, 0x02);

bitflags::bitflags! {
    /// Which faults of a range are to be reported.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Modes: u64 {
        /// On absent pages.
        const MISSING = 1 << 0;
        /// On write-protected pages.
        const WP = 1 << 1;
        /// On pages that are in the page cache but not mapped.
        const MINOR = 1 << 2;
    }

    /// The operations that a registered range allows (`1 << _UFFDIO_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Operations: u64 {
        /// [`Uffd::wake`].
        const WAKE = 1 << 2;
        /// [`Uffd::copy`].
        const COPY = 1 << 3;
        /// [`Uffd::zeropage`].
        const ZEROPAGE = 1 << 4;
        /// [`Uffd::move_pages`].
        const MOVE = 1 << 5;
        /// [`Uffd::write_protect`].
        const WRITEPROTECT = 1 << 6;
        /// [`Uffd::map_cached`].
        const CONTINUE = 1 << 7;
        /// [`Uffd::poison`].
        const POISON = 1 << 8;
        /// A later kernel's.
        const _ = !0;
    }
}

/// `UFFDIO_API`; gives all features that the kernel has.
pub(super) fn api(fd: BorrowedFd<'_>, features: Features) -> Result<Features, Errno> {
    let mut api = uffdio_api {
        api: linux_raw_sys::general::UFFD_API.into(),
        features: features.bits(),
        ioctls: 0,
    };
    // SAFETY: UFFDIO_API reads and writes one uffdio_api.
    unsafe { ioctl(fd, Updater::<API, _>::new(&mut api)) }?;
    Ok(Features::from_bits_retain(api.features))
}

pub(super) fn range(span: Span) -> uffdio_range {
    uffdio_range {
        start: span.start,
        len: span.len(),
    }
}

impl Uffd {
    /// Arms a range; gives what can be done there.
    ///
    /// # Errors
    /// `EBUSY`: another userfaultfd has it; `EPERM`: mapped without the right to write; `EINVAL`: nothing
    /// mapped there, not page-aligned, or a kind of memory that can't be armed.
    pub fn register(&self, span: Span, modes: Modes) -> Result<Operations, Errno> {
        let mut register = uffdio_register {
            range: range(span),
            mode: modes.bits(),
            ioctls: 0,
        };
        // SAFETY: UFFDIO_REGISTER reads and writes one uffdio_register.
        unsafe { ioctl(self.as_fd(), Updater::<REGISTER, _>::new(&mut register)) }?;
        Ok(Operations::from_bits_retain(register.ioctls))
    }

    /// Disarms a range and wakes who waits in it: from now on its absent pages read as zeros.
    ///
    /// # Errors
    /// `EINVAL`: nothing mapped there, or memory that could never be armed; `ENOMEM`.
    pub fn unregister(&self, span: Span) -> Result<(), Errno> {
        // SAFETY: UFFDIO_UNREGISTER reads one uffdio_range.
        unsafe { ioctl(self.as_fd(), Setter::<UNREGISTER, _>::new(range(span))) }
    }

    /// Wakes the threads that wait in a range, to look again.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not made of pages.
    pub fn wake(&self, span: Span) -> Result<(), Errno> {
        // SAFETY: UFFDIO_WAKE reads one uffdio_range.
        unsafe { ioctl(self.as_fd(), Setter::<WAKE, _>::new(range(span))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::ioctl as kernel;

    #[test]
    fn the_numbers_are_the_kernels() {
        assert_eq!(API, kernel::UFFDIO_API);
        assert_eq!(REGISTER, kernel::UFFDIO_REGISTER);
        assert_eq!(UNREGISTER, kernel::UFFDIO_UNREGISTER);
        assert_eq!(WAKE, kernel::UFFDIO_WAKE);
        assert_eq!(
            u64::from(linux_raw_sys::general::UFFD_FEATURE_MOVE),
            Features::MOVE.bits()
        );
        assert_eq!(
            u64::from(linux_raw_sys::general::UFFD_FEATURE_EVENT_UNMAP),
            Features::EVENT_UNMAP.bits()
        );
        assert_eq!(
            1u64 << linux_raw_sys::general::_UFFDIO_POISON,
            Operations::POISON.bits()
        );
    }
}
