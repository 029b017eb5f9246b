//! The logs of what processes did to their memory while they were being resumed.

use super::file::RecordFile;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// What the files of children are called, before the numbers.
pub(super) const CHILD: &str = "child.";

/// Names the logs of one process and of the children it forks while it is resumed.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    /// Of the process; of a child after a dot.
    number: String,
    children: usize,
}

impl Logs {
    /// Those of a process of the tree in this directory.
    pub(super) fn of(dir: PathBuf, slot: u32) -> Self {
        Self {
            dir,
            number: slot.to_string(),
            children: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("events.{}", self.number))
    }

    /// Opens the log, or makes it.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(self.path(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Removes the log: everything in it is done with.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The same, when so many children are known already.
    pub(crate) fn after(self, children: usize) -> Self {
        Self { children, ..self }
    }

    /// Those of a child.
    pub(crate) fn of_child(&self, child: usize) -> Self {
        Self {
            dir: self.dir.clone(),
            number: format!("{}.{child}", self.number),
            children: 0,
        }
    }

    /// Those of the next child.
    pub(crate) fn next_child(&mut self) -> Self {
        let child = self.of_child(self.children);
        self.children += 1;
        child
    }

    /// Where it is written which process this child is.
    pub(crate) fn who(&self) -> RecordFile {
        RecordFile::at(self.dir.join(format!("{CHILD}{}", self.number)))
    }
}
