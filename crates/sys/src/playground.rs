//! Mappings to play with, and all that a program can do to its own: for the victims that surgery is tried on.
//!
//! # Safety
//! A [`Map`] owns its pages: nothing else points into them, and each call keeps within them. A forked child works
//! on its own copy of them and exits.
#![allow(unsafe_code)]

use rustix::process::{Pid, Signal, WaitOptions};
use std::io;

/// Private anonymous memory, in words.
pub struct Map {
    start: *mut u64,
    words: usize,
    replaced: bool,
}

fn last<T>(call: &str) -> io::Result<T> {
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("{call}: {error}")))
}

fn mmap(at: *mut libc::c_void, bytes: usize, protection: i32, flags: i32) -> io::Result<*mut u64> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: anonymous memory, at a place of the kernel's choice or over pages that the caller owns.
    let start = unsafe { libc::mmap(at, bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return last("mmap");
    }
    Ok(start.cast())
}

impl Map {
    /// Maps so many words of zeros.
    ///
    /// # Errors
    /// As the system call of that name.
    pub fn new(words: usize) -> io::Result<Self> {
        let start = mmap(
            std::ptr::null_mut(),
            words * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            0,
        )?;
        Ok(Self {
            start,
            words,
            replaced: false,
        })
    }

    /// Its words.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping has that many words, aligned to a page, and is borrowed as long as they are.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.words) }
    }

    /// Moves it to another place, unless some of it was replaced: while a pager is at work, fresh mappings don't merge
    /// with armed ones beside them, and `mremap(2)` does not move several mappings at once.
    ///
    /// # Errors
    /// As the system call of that name.
    pub fn relocate(&mut self) -> io::Result<()> {
        if self.replaced {
            return Ok(());
        }
        let place = mmap(std::ptr::null_mut(), self.words * 8, libc::PROT_NONE, 0)?;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: the pages move over a reservation that nothing uses; the old address is forgotten.
        let moved = unsafe {
            libc::mremap(
                self.start.cast(),
                self.words * 8,
                self.words * 8,
                flags,
                place.cast::<libc::c_void>(),
            )
        };
        if moved == libc::MAP_FAILED {
            return last("mremap");
        }
        self.start = moved.cast();
        Ok(())
    }

    /// `MADV_DONTNEED`, for words that fill pages.
    ///
    /// # Errors
    /// As the system call of that name.
    pub fn drop_pages(&mut self, from: usize, words: usize) -> io::Result<()> {
        // SAFETY: the range lies in the mapping (callers stay below `words`); its content may be lost.
        let failed =
            unsafe { libc::madvise(self.start.add(from).cast(), words * 8, libc::MADV_DONTNEED) };
        if failed == 0 { Ok(()) } else { last("madvise") }
    }

    /// Maps fresh pages over some of its own.
    ///
    /// # Errors
    /// As the system call of that name.
    pub fn replace(&mut self, from: usize, words: usize) -> io::Result<()> {
        self.replaced = true;
        // SAFETY: as in `drop_pages`.
        let at = unsafe { self.start.add(from) };
        mmap(
            at.cast(),
            words * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_FIXED,
        )
        .map(drop)
    }

    /// Has the kernel write there, from a file.
    ///
    /// # Errors
    /// As the system call of that name.
    pub fn read_from(
        &mut self,
        file: &mut std::fs::File,
        from: usize,
        words: usize,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let mut done = 0;
        while done < words * 8 {
            // SAFETY: as in `drop_pages`; the kernel writes no more than the rest of the range.
            let read = unsafe {
                let to = self.start.add(from).cast::<u8>().add(done);
                libc::read(file.as_raw_fd(), to.cast(), words * 8 - done)
            };
            // A stop may cut a read short.
            match usize::try_from(read) {
                Ok(read) if read > 0 => done += read,
                _ => return last("read"),
            }
        }
        Ok(())
    }
}

/// Runs `check` in a child by `fork(2)` and says whether it was content.
///
/// # Errors
/// As `fork(2)` and `waitpid(2)`.
pub fn in_a_child(check: impl FnOnce() -> bool) -> io::Result<bool> {
    let child = child(check)?;
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            waited => return Ok(waited?.is_some_and(|(_, status)| status.exit_status() == Some(0))),
        }
    }
}

/// Starts a child by `fork(2)`, which exits with 0 if `run` was content. It ends with the thread that started it.
///
/// # Errors
/// As `fork(2)`.
pub fn child(run: impl FnOnce() -> bool) -> io::Result<Pid> {
    // SAFETY: the child calls nothing but `run`, which works on memory of its own, and `_exit(2)`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let code = i32::from(!run());
        // SAFETY: ends the child without running anything else of this program.
        unsafe { libc::_exit(code) };
    }
    match Pid::from_raw(child) {
        Some(child) if !child.is_init() && child.as_raw_pid() > 0 => Ok(child),
        _ => last("fork"),
    }
}
