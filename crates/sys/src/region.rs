//! A stretch of this process's own memory, mapped and treated as asked: what victims that stand for other
//! programs are made of (`mmap(2)`, `mprotect(2)`, `mremap(2)`, `madvise(2)`, `shmat(2)`).
//!
//! # Safety
//! A [`Region`] is made where the kernel finds room, never over memory that Rust knows of, and no reference
//! into it is ever handed out: its bytes are only read and written here, inside its bounds. What it does to
//! itself (protection, content, place) can therefore break no promise. A write to a region that is not
//! writable ends the process with SIGSEGV, which is what its caller asked for.
#![allow(unsafe_code)]

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::ffi::c_void;
use std::ptr;

fn word(seed: u64, index: usize) -> u64 {
    (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Owned memory that is not Rust's; unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    start: *mut c_void,
    len: usize,
}

impl Region {
    /// Maps `len` bytes of a file, or of nothing.
    ///
    /// # Errors
    /// As `mmap(2)`; `EINVAL` for `MAP_FIXED`, which could hit somebody else's memory.
    pub fn map(
        len: usize,
        prot: ProtFlags,
        flags: MapFlags,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Errno> {
        if flags.contains(MapFlags::FIXED) {
            return Err(Errno::INVAL);
        }
        let start = match file {
            // SAFETY: without MAP_FIXED and without a hint the kernel takes addresses that are free.
            Some(file) => unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, flags, file, 0) },
            // SAFETY: as above.
            None => unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, prot, flags) },
        }?;
        Ok(Self { start, len })
    }

    /// Makes a private SysV segment with `shmget(2)`'s further `flags`, attaches it and marks it for removal.
    ///
    /// # Errors
    /// As `shmget(2)` and `shmat(2)`.
    pub fn sysv(len: usize, flags: i32) -> Result<Self, Errno> {
        // SAFETY: numbers only.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, len, flags | 0o600) };
        if id < 0 {
            return Err(last_errno());
        }
        // SAFETY: no address given, so the kernel takes one that is free.
        let start = unsafe { libc::shmat(id, ptr::null(), 0) };
        // SAFETY: IPC_RMID reads no buffer; the segment lives on until it is detached.
        unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
        if start.addr() == usize::MAX {
            return Err(last_errno());
        }
        Ok(Self { start, len })
    }

    /// Addresses, half-open.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        let start = self.start.addr();
        start..start.saturating_add(self.len)
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// `EFAULT` where they would end behind it.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(bytes.len()).ok_or(Errno::FAULT)?;
        if end > self.len {
            return Err(Errno::FAULT);
        }
        // SAFETY: the bytes lie inside the region, which is nobody else's, and which no reference leads into.
        unsafe {
            let to = self.start.cast::<u8>().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        Ok(())
    }

    /// Fills it with words that follow from `seed`.
    pub fn write_words(&mut self, seed: u64) {
        for index in 0..self.len / 8 {
            // SAFETY: the word lies in the region, whose start is aligned to a page; nobody holds a reference into it.
            unsafe {
                self.start
                    .cast::<u64>()
                    .add(index)
                    .write_volatile(word(seed, index))
            };
        }
    }

    /// The first word that does not follow from `seed`: its index, and what it is.
    #[must_use]
    pub fn wrong_word(&self, seed: u64) -> Option<(usize, u64)> {
        (0..self.len / 8).find_map(|index| {
            // SAFETY: as in `write_words`.
            let is = unsafe { self.start.cast::<u64>().add(index).read_volatile() };
            (is != word(seed, index)).then_some((index, is))
        })
    }

    /// Writes one byte every `step` bytes: with the page size, touches all of it.
    pub fn write_every(&mut self, step: usize) {
        for offset in (0..self.len).step_by(step.max(1)) {
            // SAFETY: `offset` is below `len`, so inside the mapping, which nobody else in Rust knows of.
            unsafe { self.start.cast::<u8>().add(offset).write_volatile(1) };
        }
    }

    /// Changes what may be done with it.
    ///
    /// # Errors
    /// As `mprotect(2)`.
    pub fn protect(&mut self, prot: MprotectFlags) -> Result<(), Errno> {
        // SAFETY: the range is this region's own.
        unsafe { rustix::mm::mprotect(self.start, self.len, prot) }
    }

    /// Advises the kernel about all of it.
    ///
    /// # Errors
    /// As `madvise(2)`.
    pub fn advise(&mut self, advice: Advice) -> Result<(), Errno> {
        // SAFETY: the range is this region's own, and its content is nobody's.
        unsafe { rustix::mm::madvise(self.start, self.len, advice) }
    }

    /// Resizes it, moving it where there is no room.
    ///
    /// # Errors
    /// As `mremap(2)`; it is as it was then.
    pub fn resize(&mut self, len: usize) -> Result<(), Errno> {
        // SAFETY: the old range is this region's own, and the new one is where the kernel finds room.
        self.start =
            unsafe { rustix::mm::mremap(self.start, self.len, len, MremapFlags::MAYMOVE) }?;
        self.len = len;
        Ok(())
    }

    /// Moves its pages to a new region and stays mapped, empty (`MREMAP_DONTUNMAP`, 5.7).
    ///
    /// # Errors
    /// As `mremap(2)`.
    pub fn move_pages(&mut self) -> Result<Self, Errno> {
        // Not rustix's mremap: the kernel takes the fifth argument for a hint here, and rustix passes none.
        // SAFETY: the old range is this region's own, and the new one is where the kernel finds room.
        let start = unsafe {
            libc::syscall(
                libc::SYS_mremap,
                self.start,
                self.len,
                self.len,
                libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP,
                ptr::null_mut::<c_void>(),
            )
        };
        match usize::try_from(start) {
            Ok(start) => Ok(Self {
                start: ptr::with_exposed_provenance_mut(start),
                len: self.len,
            }),
            Err(_) => Err(last_errno()),
        }
    }

    /// Maps anonymous memory over its first half.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn replace_half(&mut self, prot: ProtFlags, flags: MapFlags) -> Result<(), Errno> {
        let flags = flags | MapFlags::FIXED;
        // SAFETY: what is mapped over is this region's own.
        unsafe { rustix::mm::mmap_anonymous(self.start, self.len / 2, prot, flags) }?;
        Ok(())
    }

    /// Forks a child that does nothing but, where `write` asks for it, writes to all of the region, and then
    /// waits until this process ends.
    ///
    /// # Errors
    /// As `fork(2)`.
    pub fn fork_holder(&mut self, write: bool, page: usize) -> Result<u32, Errno> {
        // SAFETY: the child calls only what may be called after fork with other threads about: prctl, pause,
        // _exit, and plain writes to memory that no lock guards.
        match unsafe { libc::fork() } {
            -1 => Err(last_errno()),
            0 => {
                if write {
                    self.write_every(page);
                }
                // SAFETY: numbers only; none of the three allocates or locks.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::pause();
                    libc::_exit(0)
                }
            }
            child => Ok(child.unsigned_abs()),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is this region's own and nothing points into it. For a SysV segment this is what
        // shmdt(2) does. It fails for no range that was mapped, and if it did the memory would stay.
        let _ = unsafe { rustix::mm::munmap(self.start, self.len) };
    }
}

/// Moves the end of the heap (`sbrk(2)`); the allocator finds its heap interrupted and copes.
///
/// # Errors
/// `ENOMEM`.
pub fn grow_heap(bytes: usize) -> Result<std::ops::Range<usize>, Errno> {
    let bytes = isize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
    // SAFETY: growing takes addresses that nobody has; malloc(3) is made to live with it.
    let old = unsafe { libc::sbrk(bytes) }.addr();
    if old == usize::MAX {
        return Err(last_errno());
    }
    Ok(old..old.saturating_add(bytes.unsigned_abs()))
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_grows_moves_and_goes() {
        let page = rustix::param::page_size();
        let rw = ProtFlags::READ | ProtFlags::WRITE;
        let mut region = Region::map(4 * page, rw, MapFlags::PRIVATE, None).unwrap();
        region.write_every(page);
        region.resize(8 * page).unwrap();
        region.write_every(page);
        let mut moved = region.move_pages().unwrap();
        assert_ne!(moved.range(), region.range());
        moved
            .replace_half(rw, MapFlags::PRIVATE | MapFlags::NORESERVE)
            .unwrap();
        moved.advise(Advice::LinuxDontNeed).unwrap();
        moved.protect(MprotectFlags::empty()).unwrap();
        assert_eq!(
            Region::map(page, rw, MapFlags::PRIVATE | MapFlags::FIXED, None).unwrap_err(),
            Errno::INVAL
        );
    }

    #[test]
    fn a_segment_is_removed_with_its_region() {
        let page = rustix::param::page_size();
        let mut segment = Region::sysv(4 * page, 0).unwrap();
        segment.write_every(page);
        assert_eq!(segment.range().len(), 4 * page);
    }
}
