//! The directory of one tree, while it is ours.

use super::file::RecordFile;
use super::logs::Logs;
use super::record::{Record, read_record};
use super::{RuntimeError, sessions};
use crate::session::Guarded;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The directory of one tree, locked: nobody else works on it.
#[derive(Debug)]
pub struct Entry {
    pub(super) dir: PathBuf,
    pub(super) touched: PathBuf,
    pub(super) _lock: File,
}

impl Entry {
    /// The record, if one was written.
    ///
    /// # Errors
    /// When it can't be read or makes no sense.
    pub fn record(&self) -> Result<Option<Record>, RuntimeError> {
        match read_record(&self.dir) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            record => record.map(Some),
        }
    }

    /// Replaces the record as a whole.
    ///
    /// # Errors
    /// As `write(2)` and `rename(2)`.
    pub fn write(&self, record: &Record) -> Result<(), RuntimeError> {
        self.file("record").write(record)
    }

    /// Another file of the tree.
    pub(crate) fn file(&self, name: &str) -> RecordFile {
        RecordFile::at(self.dir.join(name))
    }

    /// The pagers that were at this tree, each with its guardian.
    pub(crate) fn sessions(&self) -> Result<Vec<Guarded>, RuntimeError> {
        sessions(&self.dir)
    }

    /// The pipe by which a pager that brings back only what is touched is told to bring back all. Open for both ends,
    /// so that it never ends.
    ///
    /// # Errors
    /// As `mkfifo(3)` and `open(2)`.
    pub fn bell(&self) -> Result<File, RuntimeError> {
        let path = self.dir.join("bell");
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(RuntimeError::new("make", &path)(errno)),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let bell = rustix::fs::open(&path, flags, Mode::empty());
        bell.map(File::from)
            .map_err(RuntimeError::new("open", &path))
    }

    /// Where the log of a process's events goes.
    #[must_use]
    pub fn logs(&self, slot: u32) -> Logs {
        Logs::of(self.dir.clone(), slot)
    }

    /// Nothing of the tree is parked any more.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub fn remove(self) -> Result<(), RuntimeError> {
        // The record first: what is left without one is nothing.
        let record = self.dir.join("record");
        match std::fs::remove_file(&record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RuntimeError::new("remove", &record)(error));
            }
            _ => {}
        }
        std::fs::remove_dir_all(&self.dir).map_err(RuntimeError::new("remove", &self.dir))
    }
}
