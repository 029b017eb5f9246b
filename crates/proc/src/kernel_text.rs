//! A kernel file that stays open and is read again and again into the same bytes, which don't grow.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use std::ffi::CStr;

/// Opens a file for reading, below `directory` or, with an absolute path, anywhere.
///
/// # Errors
/// As `openat(2)`.
pub fn open(directory: Option<&OwnedFd>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match directory {
        Some(directory) => openat(directory, path, flags, Mode::empty()),
        None => openat(CWD, path, flags, Mode::empty()),
    }
}

/// Reads all of a file into `buffer`; `None` where it can't be read, or has no room there.
///
/// A seq file gives no more than its own buffer at a time, so only an empty read is the end.
pub fn read(file: impl AsFd, buffer: &mut [u8]) -> Option<&[u8]> {
    let mut length: usize = 0;
    loop {
        let free = buffer.get_mut(length..).filter(|free| !free.is_empty())?;
        match pread(&file, free, length as u64) {
            Ok(0) => return buffer.get(..length),
            Ok(read) => length = length.checked_add(read)?,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
