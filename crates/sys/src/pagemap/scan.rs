//! `PAGEMAP_SCAN`: runs of pages by category, and write protection set in the same walk.
//!
//! # Safety
//! The `ioctl` takes one `pm_scan_arg` of the kernel's own layout and writes at most `vec_len` regions to `vec`,
//! which points to a slice of that many.
#![allow(unsafe_code)]

use super::Pagemap;
use crate::Span;
use linux_raw_sys::general::{page_region, pm_scan_arg};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const PAGEMAP_SCAN: Opcode = opcode::read_write::<pm_scan_arg>(b'f', 16);

bitflags::bitflags! {
    /// What a page can be (`PAGE_IS_*`).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Categories: u64 {
        /// In a range registered for asynchronous write protection.
        const WPALLOWED = 1 << 0;
        /// Written since it was write-protected; says nothing outside such ranges.
        const WRITTEN = 1 << 1;
        /// Of a file, or shared anonymous memory.
        const FILE = 1 << 2;
        /// In RAM.
        const PRESENT = 1 << 3;
        /// In swap.
        const SWAPPED = 1 << 4;
        /// The zero page.
        const PFNZERO = 1 << 5;
        /// Mapped as part of a huge page.
        const HUGE = 1 << 6;
        /// Soft-dirty (Linux 6.8; `EINVAL` before).
        const SOFT_DIRTY = 1 << 7;
        /// A guard page (Linux 6.15; `EINVAL` before).
        const GUARD = 1 << 8;
    }

    /// What the walk does beside looking.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct ScanFlags: u64 {
        /// Write-protect what matches, in the same step.
        const WP_MATCHING = 1 << 0;
        /// Refuse (`EPERM`) a range that is not registered for asynchronous write protection.
        const CHECK_WPASYNC = 1 << 1;
    }
}

/// Which pages are wanted: those that have all of `all` and one of `any`, where categories in `inverted` count
/// when absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// Categories that a page must have.
    pub all: Categories,
    /// Categories of which a page must have one; empty: any page.
    pub any: Categories,
    /// Categories to be understood as their contrary.
    pub inverted: Categories,
    /// Categories to be told.
    pub tell: Categories,
    /// What else to do.
    pub flags: ScanFlags,
}

/// A run of pages of the same categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

impl Region {
    /// Room for one.
    pub const EMPTY: Self = Self {
        start: 0,
        end: 0,
        categories: 0,
    };

    /// Where it lies.
    #[must_use]
    pub const fn span(&self) -> Span {
        Span {
            start: self.start,
            end: self.end,
        }
    }

    /// What its pages are, among what was asked.
    #[must_use]
    pub const fn categories(&self) -> Categories {
        Categories::from_bits_retain(self.categories)
    }
}

/// How far a walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Regions found.
    pub regions: usize,
    /// Where it stopped: the end of the range, or where the room for regions ran out.
    pub walk_end: u64,
}

impl Pagemap {
    /// Walks `span` for what `scan` wants, as far as `into` has room.
    ///
    /// # Errors
    /// `ENOTTY`: a kernel before 6.7; `EINVAL`: a category that this kernel lacks; `EPERM`: see
    /// [`ScanFlags::CHECK_WPASYNC`].
    pub fn scan(&self, span: Span, scan: &Scan, into: &mut [Region]) -> Result<Scanned, Errno> {
        let mut arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags: scan.flags.bits(),
            start: span.start,
            end: span.end,
            walk_end: 0,
            vec: into.as_mut_ptr() as u64,
            vec_len: into.len() as u64,
            max_pages: 0,
            category_inverted: scan.inverted.bits(),
            category_mask: scan.all.bits(),
            category_anyof_mask: scan.any.bits(),
            return_mask: scan.tell.bits(),
        };
        // SAFETY: PAGEMAP_SCAN reads and writes one pm_scan_arg and writes at most `vec_len` page_regions to `vec`;
        // Region is laid out as page_region (asserted below) and `into` has that many.
        unsafe {
            ioctl(
                &self.file,
                Counting(Updater::<PAGEMAP_SCAN, _>::new(&mut arg)),
            )
        }
        .map(|regions| Scanned {
            regions,
            walk_end: arg.walk_end,
        })
    }
}

/// An [`Updater`] whose result is a number.
struct Counting<I>(I);

// SAFETY: everything is the inner ioctl's, but for the output: the call's own return value.
unsafe impl<I: rustix::ioctl::Ioctl> rustix::ioctl::Ioctl for Counting<I> {
    type Output = usize;
    const IS_MUTATING: bool = I::IS_MUTATING;

    fn opcode(&self) -> Opcode {
        self.0.opcode()
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.0.as_ptr()
    }

    unsafe fn output_from_ptr(
        output: rustix::ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> Result<usize, Errno> {
        usize::try_from(output).map_err(|_| Errno::OVERFLOW)
    }
}

const _: () = assert!(size_of::<Region>() == size_of::<page_region>());

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn layout_and_number_are_the_kernels() {
        assert_eq!(offset_of!(Region, end), offset_of!(page_region, end));
        assert_eq!(
            offset_of!(Region, categories),
            offset_of!(page_region, categories)
        );
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
        assert_eq!(
            u64::from(linux_raw_sys::general::PAGE_IS_GUARD),
            Categories::GUARD.bits()
        );
    }
}
