//! The directory of one tree, while it is ours.

use super::file::RecordFile;
use super::logs::Logs;
use super::record::{Record, read_record};
use super::{LOCK, RuntimeError, sessions};
use crate::session::Guarded;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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
    /// As `unlink(2)` and `rmdir(2)`.
    pub fn remove(self) -> Result<(), RuntimeError> {
        // The record first: what is left without one is nothing.
        remove_file(&self.dir.join("record"))?;
        let failed = || RuntimeError::new("list", &self.dir);
        for entry in std::fs::read_dir(&self.dir).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.file_name() != LOCK {
                remove_file(&entry.path())?;
            }
        }
        // The lock last: as soon as it is gone, somebody else may take the tree, and what is there then is theirs.
        remove_file(&self.dir.join(LOCK))?;
        match std::fs::remove_dir(&self.dir) {
            Err(error) if !is_theirs(&error) => Err(RuntimeError::new("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }
}

fn remove_file(path: &Path) -> Result<(), RuntimeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RuntimeError::new("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether a directory could not be removed because somebody has taken the tree, or has removed it after that.
fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
    )
}
