//! Pages given to an armed range, and what may come in between.
//!
//! Each operation goes as far as it can and says how far ([`Fill::done_bytes`]) and what stopped it
//! ([`Fill::halt`]). The kernel tells this in two places, the `errno` and a field of the structure, which
//! contradict each other by turns: a partial copy is `EAGAIN` with the bytes in the field, an event that
//! nobody read yet is `EAGAIN` with `-EAGAIN` in the field (or with the field untouched: a kernel bug, fixed
//! in 2025). [`judge`] is the one place that knows.
//!
//! # Safety
//! The `ioctl`s here take structures of the kernel's own layout, by a reference that lives through the call.
//! Only `UFFDIO_COPY` has a pointer to our memory: the slice it reads.
#![allow(unsafe_code)]

use super::{UFFDIO, Uffd, register::range};
use crate::Span;
use linux_raw_sys::general::{
    uffdio_continue, uffdio_copy, uffdio_move, uffdio_poison, uffdio_writeprotect, uffdio_zeropage,
};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

const COPY: Opcode = opcode::read_write::<uffdio_copy>(UFFDIO, 0x03);
const ZEROPAGE: Opcode = opcode::read_write::<uffdio_zeropage>(UFFDIO, 0x04);
const MOVE: Opcode = opcode::read_write::<uffdio_move>(UFFDIO, 0x05);
const WRITEPROTECT: Opcode = opcode::read_write::<uffdio_writeprotect>(UFFDIO, 0x06);
const CONTINUE: Opcode = opcode::read_write::<uffdio_continue>(UFFDIO, 0x07);
const POISON: Opcode = opcode::read_write::<uffdio_poison>(UFFDIO, 0x08);

bitflags::bitflags! {
    /// How pages are given.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Mode: u64 {
        /// Let the threads that wait go on waiting.
        const DONTWAKE = 1 << 0;
        /// Map them write-protected ([`Uffd::copy`] only).
        const WP = 1 << 1;
    }
}

/// How far an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Bytes done from the beginning of the range.
    pub done_bytes: u64,
    /// What stopped it there; `None` when all is done.
    pub halt: Option<Halt>,
}

/// What stopped an operation. All but [`Halt::Failed`] are everyday news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// Some was done: go on with the rest, whose first page tells the reason.
    Partial,
    /// An event (fork, mremap, madvise, munmap) has not been read yet: read it, then try again.
    Changing,
    /// A page is there already. Who waits for it has **not** been woken: [`Uffd::wake`] does.
    Exists,
    /// Nothing, or nothing of this descriptor's, is mapped there any more.
    Unmapped,
    /// The process is gone.
    Gone,
    /// Anything else: `ENOMEM` (the target's cgroup is full), `EFAULT`, `EINVAL`, `EBUSY` (a page that can't be moved).
    Failed(Errno),
}

/// What one call came to, from its result, the field it left, and how much was asked.
fn judge(result: Result<(), Errno>, field: i64, asked_bytes: u64) -> Fill {
    let done_bytes = u64::try_from(field).unwrap_or(0).min(asked_bytes);
    let halt = match result {
        Ok(()) if done_bytes == asked_bytes => None,
        Ok(()) => Some(Halt::Partial),
        Err(_) if done_bytes > 0 => Some(Halt::Partial),
        Err(Errno::AGAIN) => Some(Halt::Changing),
        Err(Errno::EXIST) => Some(Halt::Exists),
        Err(Errno::NOENT) => Some(Halt::Unmapped),
        // ENOSPC until Linux 4.12, ESRCH since.
        Err(Errno::SRCH | Errno::NOSPC) => Some(Halt::Gone),
        Err(errno) => Some(Halt::Failed(errno)),
    };
    Fill { done_bytes, halt }
}

/// Whether the memory that a userfaultfd serves still lives: some process has it mapped.
///
/// Asked by an operation that can't succeed, at the end of the address space, where no program maps anything.
#[must_use]
pub fn serves(uffd: BorrowedFd<'_>) -> bool {
    let page = rustix::param::page_size() as u64;
    let mut cont = uffdio_continue {
        range: range(Span::new((1 << 47) - 16 * page, page)),
        mode: 0,
        mapped: 0,
    };
    // SAFETY: UFFDIO_CONTINUE reads and writes one uffdio_continue. It maps only pages of shared memory that was
    // registered for minor faults, and where there is some, only pages which that memory has anyway.
    let result = unsafe { ioctl(uffd, Updater::<CONTINUE, _>::new(&mut cont)) };
    judge(result, cont.mapped, page).halt != Some(Halt::Gone)
}

impl Uffd {
    /// `UFFDIO_COPY`: makes absent pages from `pages`, in one step each: no other thread sees half a page.
    /// The length must be a multiple of the page size (of the huge page size in hugetlb mappings).
    pub fn copy(&self, to: u64, pages: &[u8], mode: Mode) -> Fill {
        let mut copy = uffdio_copy {
            dst: to,
            src: pages.as_ptr() as u64,
            len: pages.len() as u64,
            mode: mode.bits(),
            copy: 0,
        };
        // SAFETY: UFFDIO_COPY reads and writes one uffdio_copy, and reads `pages`, which lives through the call.
        let result = unsafe { ioctl(self.as_fd(), Updater::<COPY, _>::new(&mut copy)) };
        judge(result, copy.copy, copy.len)
    }

    /// `UFFDIO_ZEROPAGE`: makes absent pages of zeros. Not in hugetlb mappings (`EINVAL`).
    pub fn zeropage(&self, span: Span, mode: Mode) -> Fill {
        let mut zero = uffdio_zeropage {
            range: range(span),
            mode: mode.bits(),
            zeropage: 0,
        };
        // SAFETY: UFFDIO_ZEROPAGE reads and writes one uffdio_zeropage.
        let result = unsafe { ioctl(self.as_fd(), Updater::<ZEROPAGE, _>::new(&mut zero)) };
        judge(result, zero.zeropage, span.len())
    }

    /// `UFFDIO_CONTINUE`: maps pages that the page cache has (registered with `MINOR`).
    pub fn map_cached(&self, span: Span, mode: Mode) -> Fill {
        let mut cont = uffdio_continue {
            range: range(span),
            mode: mode.bits(),
            mapped: 0,
        };
        // SAFETY: UFFDIO_CONTINUE reads and writes one uffdio_continue.
        let result = unsafe { ioctl(self.as_fd(), Updater::<CONTINUE, _>::new(&mut cont)) };
        judge(result, cont.mapped, span.len())
    }

    /// `UFFDIO_POISON`: absent pages become ones whose every access gives SIGBUS (Linux 6.6): the honest end of
    /// a page that can't be had.
    pub fn poison(&self, span: Span, mode: Mode) -> Fill {
        let mut poison = uffdio_poison {
            range: range(span),
            mode: mode.bits(),
            updated: 0,
        };
        // SAFETY: UFFDIO_POISON reads and writes one uffdio_poison.
        let result = unsafe { ioctl(self.as_fd(), Updater::<POISON, _>::new(&mut poison)) };
        judge(result, poison.updated, span.len())
    }

    /// `UFFDIO_MOVE`: moves pages within the process from `from` to the absent ones at `to` (Linux 6.8).
    pub fn move_pages(&self, from: Span, to: u64, mode: Mode) -> Fill {
        let mut moved = uffdio_move {
            dst: to,
            src: from.start,
            len: from.len(),
            mode: mode.bits(),
            move_: 0,
        };
        // SAFETY: UFFDIO_MOVE reads and writes one uffdio_move; its addresses are the target's.
        let result = unsafe { ioctl(self.as_fd(), Updater::<MOVE, _>::new(&mut moved)) };
        judge(result, moved.move_, moved.len)
    }

    /// `UFFDIO_WRITEPROTECT`: write-protects a range, or lifts that and wakes who waits (unless `DONTWAKE`).
    ///
    /// # Errors
    /// `EAGAIN`: an event is to be read first; `ENOENT`: not registered for it.
    pub fn write_protect(&self, span: Span, protect: bool, mode: Mode) -> Result<(), Errno> {
        // Here protection is bit 0 and DONTWAKE bit 1.
        let dontwake = u64::from(mode.contains(Mode::DONTWAKE)) << 1;
        let arg = uffdio_writeprotect {
            range: range(span),
            mode: dontwake | u64::from(protect),
        };
        // SAFETY: UFFDIO_WRITEPROTECT reads one uffdio_writeprotect.
        unsafe { ioctl(self.as_fd(), Setter::<WRITEPROTECT, _>::new(arg)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::ioctl as kernel;

    #[test]
    fn the_numbers_are_the_kernels() {
        assert_eq!(COPY, kernel::UFFDIO_COPY);
        assert_eq!(ZEROPAGE, kernel::UFFDIO_ZEROPAGE);
        assert_eq!(WRITEPROTECT, kernel::UFFDIO_WRITEPROTECT);
        assert_eq!(CONTINUE, kernel::UFFDIO_CONTINUE);
        // Missing from linux-raw-sys: _IOWR(0xaa, 5, 40 bytes) and _IOWR(0xaa, 8, 32 bytes).
        assert_eq!((MOVE, POISON), (0xc028_aa05, 0xc020_aa08));
    }

    #[test]
    fn both_places_are_read_together() {
        let again = Err(Errno::AGAIN);
        let eagain = -i64::from(Errno::AGAIN.raw_os_error());
        for (result, field, done_bytes, halt) in [
            (Ok(()), 8192, 8192, None),
            (again, 4096, 4096, Some(Halt::Partial)),
            (again, eagain, 0, Some(Halt::Changing)),
            (again, 0, 0, Some(Halt::Changing)), // the field left as we set it
            (Err(Errno::EXIST), -17, 0, Some(Halt::Exists)),
            (Err(Errno::NOENT), -2, 0, Some(Halt::Unmapped)),
            (Err(Errno::SRCH), 0, 0, Some(Halt::Gone)),
            (Err(Errno::NOSPC), 0, 0, Some(Halt::Gone)),
            (Err(Errno::NOMEM), -12, 0, Some(Halt::Failed(Errno::NOMEM))),
        ] {
            assert_eq!(
                judge(result, field, 8192),
                Fill { done_bytes, halt },
                "{result:?} {field}"
            );
        }
    }
}
