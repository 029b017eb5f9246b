//! An open directory: for trees that change while they are walked, and may be deeper than `PATH_MAX`.
//!
//! Everything is opened relative to the descriptor, one name at a time and never through a symlink, so a
//! directory that is renamed or removed meanwhile is an error of that one step, and a captured tree cannot
//! lead outside.

use crate::root::read_whole;
use crate::{ReadError, Root};
use rustix::fs::{FileType, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A directory below a [`Root`].
#[derive(Debug)]
pub struct Dir<'r> {
    root: &'r Root,
    fd: OwnedFd,
    /// Where it was when it was opened, below the root: for messages and for recording.
    path: PathBuf,
}

/// Which directory it is, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirId {
    /// Of the file system.
    pub device: u64,
    /// Within it; on cgroup file systems the id that the kernel gives the group.
    pub inode: u64,
}

impl<'r> Dir<'r> {
    pub(crate) fn new(root: &'r Root, fd: OwnedFd, path: PathBuf) -> Self {
        Self { root, fd, path }
    }

    /// Where it was when it was opened, below the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory `name` in this one.
    ///
    /// # Errors
    /// As `openat(2)`; a symlink is refused.
    pub fn open_dir(&self, name: &OsStr) -> Result<Self, ReadError> {
        self.step(name, self.path.join(name))
    }

    /// The directory that this one lies in now: after a rename not the one that it was opened from, so
    /// compare [`Dir::id`] where that matters.
    ///
    /// # Errors
    /// As `openat(2)`.
    pub fn parent(&self) -> Result<Self, ReadError> {
        let path = self.path.parent().unwrap_or(Path::new(""));
        self.step(OsStr::new(".."), path.to_owned())
    }

    fn step(&self, name: &OsStr, path: PathBuf) -> Result<Self, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.root.open_in(&self.fd, name, &path, flags)?;
        Ok(Self::new(self.root, fd, path))
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn id(&self) -> Result<DirId, ReadError> {
        let stat = rustix::fs::fstat(&self.fd)
            .map_err(|errno| self.root.failed("stat", &self.path, errno))?;
        Ok(DirId {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// The whole of the file `name`, into a buffer that is cleared first and can be used again.
    ///
    /// # Errors
    /// As `openat(2)` and `read(2)`; [`ReadError::is_gone`] where there is none, or none any more.
    pub fn read_into(&self, name: &OsStr, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let path = self.path.join(name);
        bytes.clear();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        read_whole(self.root.open_in(&self.fd, name, &path, flags)?, bytes)
            .map_err(|error| self.root.failed("read", &path, error))?;
        self.root.record(&path, bytes);
        Ok(())
    }

    /// The beginning of the file `name`, `limit` bytes at most: for what its owner can make as long as it likes.
    ///
    /// # Errors
    /// As [`Dir::read_into`].
    pub fn read_start(
        &self,
        name: &OsStr,
        limit: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let path = self.path.join(name);
        bytes.clear();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        File::from(self.root.open_in(&self.fd, name, &path, flags)?)
            .take(limit)
            .read_to_end(bytes)
            .map_err(|error| self.root.failed("read", &path, error))?;
        self.root.record(&path, bytes);
        Ok(())
    }

    /// The file `name`, to be read bit by bit: for what is too long to be held. Only where it is recorded it is
    /// read whole first.
    ///
    /// # Errors
    /// As `openat(2)`, and where it is recorded as [`Dir::read_into`].
    pub fn stream(&self, name: &OsStr) -> Result<Box<dyn Read>, ReadError> {
        if self.root.is_recorded() {
            let mut bytes = Vec::new();
            self.read_into(name, &mut bytes)?;
            return Ok(Box::new(std::io::Cursor::new(bytes)));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = self
            .root
            .open_in(&self.fd, name, &self.path.join(name), flags)?;
        Ok(Box::new(File::from(fd)))
    }

    /// The names of the directories in this one, in no order.
    ///
    /// Where the file system does not tell (`DT_UNKNOWN`) a name may be no directory: [`Dir::open_dir`]
    /// says so.
    ///
    /// # Errors
    /// As `getdents64(2)`.
    pub fn directories(&self) -> Result<Vec<OsString>, ReadError> {
        if let Some(names) = self.root.recorded_list(&self.path) {
            return Ok(names);
        }
        let failed = |errno| self.root.failed("list", &self.path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let may_be_directory =
                matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if may_be_directory && name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        self.root.record_list(&self.path, &names);
        Ok(names)
    }
}

impl AsFd for Dir<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use crate::Root;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_is_walked_by_name_and_never_through_a_symlink() {
        let tree = tempfile::tempdir().unwrap();
        let odd = OsStr::from_bytes(b"a\n\xff");
        std::fs::create_dir(tree.path().join(odd)).unwrap();
        std::fs::write(tree.path().join(odd).join("file"), "1\n").unwrap();
        symlink("/etc", tree.path().join("etc")).unwrap();
        let root = Root::captured(tree.path()).unwrap();

        let top = root.open_dir(".").unwrap();
        assert_eq!(top.directories().unwrap(), [odd]);
        assert!(top.open_dir(OsStr::new("etc")).is_err());

        let below = top.open_dir(odd).unwrap();
        let mut bytes = Vec::new();
        below.read_into(OsStr::new("file"), &mut bytes).unwrap();
        assert_eq!(bytes, b"1\n");
        assert_eq!(below.parent().unwrap().id().unwrap(), top.id().unwrap());
    }

    #[test]
    fn a_directory_removed_meanwhile_is_gone() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("a")).unwrap();
        let root = Root::captured(tree.path()).unwrap();
        let below = root.open_dir("a").unwrap();
        std::fs::remove_dir(tree.path().join("a")).unwrap();
        let error = below
            .read_into(OsStr::new("file"), &mut Vec::new())
            .unwrap_err();
        assert!(error.is_gone());
    }
}
