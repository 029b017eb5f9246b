//! How another program has a recording written: a named pipe beside the recordings, into which it puts a byte (`fifo(7)`).
//!
//! ```text
//! DIRECTORY/tell
//! ```
//!
//! The directory is its owner's alone, so nobody else can ask. Where no recorder runs there is nobody at the other end, and the byte
//! goes nowhere: who asks neither waits nor has to know.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, mknodat, open, openat};
use rustix::io::Errno;
use std::path::Path;

/// What it is called.
const NAME: &str = "tell";

/// The recorder's end, readable when somebody has asked. It holds the other end too, so that it never reads an end of file.
pub(crate) fn hang(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    match mknodat(directory, NAME, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Err(Errno::EXIST) => {}
        made => made?,
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let bell = openat(directory, NAME, flags, Mode::empty())?;
    // Of anything else one could read for ever.
    match FileType::from_raw_mode(fstat(&bell)?.st_mode) {
        FileType::Fifo => Ok(bell),
        _ => Err(Errno::EXIST),
    }
}

/// Has whoever records into `directory` write it out. That nobody does is no error.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub fn ring(directory: &Path) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let bell = match open(directory.join(NAME), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NXIO | Errno::NOTDIR) => return Ok(()),
        opened => opened?,
    };
    if FileType::from_raw_mode(fstat(&bell)?.st_mode) != FileType::Fifo {
        return Ok(());
    }
    match rustix::io::write(&bell, b"!") {
        Err(Errno::AGAIN) => Ok(()), // it has been asked often enough
        written => written.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rings_is_heard_and_nobody_waits_where_there_is_no_recorder() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = open(scratch.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        ring(scratch.path()).unwrap();
        ring(&scratch.path().join("nowhere")).unwrap();
        let bell = hang(&directory).unwrap();
        let mut heard = [0; 8];
        let read = |heard: &mut [u8]| rustix::io::read(&bell, heard);
        assert_eq!(read(&mut heard), Err(Errno::AGAIN));
        ring(scratch.path()).unwrap();
        assert_eq!(read(&mut heard), Ok(1));
        let again = hang(&directory).unwrap();
        drop((bell, again));
        ring(scratch.path()).unwrap();
    }

    #[test]
    fn a_file_of_that_name_is_no_bell() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = open(scratch.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        std::fs::write(scratch.path().join(NAME), "mine").unwrap();
        assert!(hang(&directory).is_err());
        ring(scratch.path()).unwrap();
        assert_eq!(std::fs::read(scratch.path().join(NAME)).unwrap(), b"mine");
    }
}
