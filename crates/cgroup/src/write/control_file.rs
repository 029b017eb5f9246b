//! One file of a group, open for writing: for who must write when nothing can be opened or allocated any more.

use super::ControlError;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A file of a group. Every write goes to its beginning, whole: the kernel takes each as one setting.
#[derive(Debug)]
pub struct ControlFile {
    file: OwnedFd,
    path: PathBuf,
}

impl ControlFile {
    pub(super) fn open(dir: &OwnedFd, above: &Path, name: &str) -> Result<Self, ControlError> {
        let path = above.join(name);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(file) => Ok(Self { file, path }),
            Err(errno) => Err(ControlError::new("open for writing", path, errno)),
        }
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// As `write(2)`, with what was to be written.
    pub fn write(&self, text: &str) -> Result<(), ControlError> {
        self.try_write(text.as_bytes())
            .map_err(|errno| ControlError::new(format!("write {text:?} to"), &self.path, errno))
    }

    /// The same without allocating.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn try_write(&self, text: &[u8]) -> Result<(), Errno> {
        // Control files take no part of a setting: it is written whole or not at all.
        rustix::io::pwrite(&self.file, text, 0).map(drop)
    }

    /// Where it was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for ControlFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
