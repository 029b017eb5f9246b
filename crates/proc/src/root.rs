//! Where readers read: the live host, or a tree captured from one.

use crate::Dir;
use crate::tee::{ERRORS_FILE, Errors, Recorded, Tee};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A file could not be read; says which and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct ReadError {
    operation: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl ReadError {
    pub(crate) fn new(
        operation: &'static str,
        path: PathBuf,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self {
            operation,
            path,
            source: source.into(),
        }
    }

    /// Whether the thing is gone, or was never there: a process that ended, a cgroup that was removed, a
    /// file that this kernel lacks. A normal outcome, not a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let errno = self.source.raw_os_error();
        [Errno::NOENT, Errno::SRCH, Errno::NODEV]
            .iter()
            .any(|gone| errno == Some(gone.raw_os_error()))
    }

    /// Whether more privilege would have helped.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::PermissionDenied
    }
}

/// The host being read: paths below it are written as on that host, without the leading slash
/// (`proc/meminfo`).
///
/// In a captured tree no path leads outside it, whatever symlinks it holds (`openat2(2)`,
/// `RESOLVE_IN_ROOT`): a capture from a stranger is hostile input.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Live,
    /// The live host, and what is read of it is written down.
    Recorded(Tee),
    /// The directory of a captured tree, and the errors that reading its host gave.
    Captured(OwnedFd, Errors),
}

impl Root {
    /// The host this program runs on.
    #[must_use]
    pub fn live() -> Self {
        Self {
            path: PathBuf::from("/"),
            source: Source::Live,
        }
    }

    /// The host this program runs on; every file that [`Root::read`] reads is also written below `directory`, which
    /// then is a tree for [`Root::captured`] once [`Root::finish_recording`] has said so.
    #[must_use]
    pub fn recorded(directory: OwnedFd) -> Self {
        Self {
            path: PathBuf::from("/"),
            source: Source::Recorded(Tee::new(directory)),
        }
    }

    /// How much is in the recorded tree, which is complete then; nothing where this root does not record.
    ///
    /// # Errors
    /// The first thing that could not be written: a full disk, for one.
    pub fn finish_recording(&self) -> Result<Recorded, ReadError> {
        let Source::Recorded(tee) = &self.source else {
            return Ok(Recorded::default());
        };
        tee.finish()
            .map_err(|(path, error)| ReadError::new("record", path, error))
    }

    /// Writes `bytes` down as if they had been read from `path`: for those who read an open file again and again.
    pub fn record(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        if let Source::Recorded(tee) = &self.source {
            tee.file(path.as_ref(), bytes);
        }
    }

    /// A tree written by `plimsoll capture`.
    ///
    /// # Errors
    /// When `path` is no directory that can be opened.
    pub fn captured(path: &Path) -> Result<Self, ReadError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| ReadError::new("open the captured tree", path.to_owned(), errno))?;
        let mut root = Self {
            path: path.to_owned(),
            source: Source::Captured(dir, Errors::default()),
        };
        if let Ok(bytes) = root.read(ERRORS_FILE)
            && let Source::Captured(_, errors) = &mut root.source
        {
            *errors = serde_json::from_slice(&bytes).unwrap_or_default();
        }
        Ok(root)
    }

    /// Whether this is the running host: only there can be looked at what is no file.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.source, Source::Captured(..))
    }

    /// Whether what is read is also written down.
    pub(crate) fn is_recorded(&self) -> bool {
        matches!(self.source, Source::Recorded(_))
    }

    /// Opens a file for reading; never blocks on a FIFO that lies in its place.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File, ReadError> {
        self.open_with(path.as_ref(), OFlags::RDONLY | OFlags::NONBLOCK)
            .map(File::from)
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, ReadError> {
        let flags = flags | OFlags::CLOEXEC;
        let live = || rustix::fs::open(self.path.join(path), flags, Mode::empty());
        match &self.source {
            Source::Live => live(),
            Source::Recorded(tee) => tee.again(path).unwrap_or_else(live),
            Source::Captured(dir, errors) => errors.get(path).map_or_else(
                || {
                    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                    let fd = rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)?;
                    admit(fd)
                },
                Err,
            ),
        }
        .map_err(|errno| self.failed("open", path, errno))
    }

    /// Opens `name` in an open directory, never through a symlink; `path` is where that lies below the root.
    pub(crate) fn open_in(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        flags: OFlags,
    ) -> Result<OwnedFd, ReadError> {
        let recorded = match &self.source {
            Source::Captured(_, errors) => errors.get(path).map(Err),
            Source::Recorded(tee) => tee.again(path),
            Source::Live => None,
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened =
            recorded.unwrap_or_else(|| rustix::fs::openat(dir, name, flags, Mode::empty()));
        match &self.source {
            Source::Captured(..) => opened.and_then(admit),
            Source::Live | Source::Recorded(_) => opened,
        }
        .map_err(|errno| self.failed("open", path, errno))
    }

    /// Notes that a directory was listed, for the tree that is being recorded.
    pub(crate) fn record_list(&self, path: &Path, names: &[OsString]) {
        if let Source::Recorded(tee) = &self.source {
            tee.directory(path, names);
        }
    }

    /// What listing the directory gave before, where that is recorded.
    pub(crate) fn recorded_list(&self, path: &Path) -> Option<Vec<OsString>> {
        match &self.source {
            Source::Recorded(tee) => tee.listed(path),
            Source::Live | Source::Captured(..) => None,
        }
    }

    pub(crate) fn failed(
        &self,
        operation: &'static str,
        path: &Path,
        error: impl Into<std::io::Error>,
    ) -> ReadError {
        let error = ReadError::new(operation, self.path.join(path), error);
        if let Source::Recorded(tee) = &self.source
            && !error.is_gone()
        {
            tee.error(path, &error.source);
        }
        error
    }

    /// The whole of a file.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`; [`ReadError::is_gone`] for a process that ended meanwhile.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.read_into(path, &mut bytes)?;
        Ok(bytes)
    }

    /// The whole of a file, into a buffer that is cleared first and can be used again.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn read_into(&self, path: impl AsRef<Path>, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let path = path.as_ref();
        bytes.clear();
        read_whole(self.open(path)?.into(), bytes)
            .map_err(|error| self.failed("read", path, error))?;
        self.record(path, bytes);
        Ok(())
    }

    /// Opens a directory, to be read below by name and whatever happens to the path that led to it.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Dir<'_>, ReadError> {
        let path = path.as_ref();
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Dir::new(self, fd, path.to_owned()))
    }

    /// The names in a directory, in no order, without `.` and `..`.
    ///
    /// # Errors
    /// As `open(2)` and `getdents64(2)`.
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>, ReadError> {
        use std::os::unix::ffi::OsStringExt;
        let path = path.as_ref();
        if let Some(names) = self.recorded_list(path) {
            return Ok(names);
        }
        let failed = |errno| self.failed("list", path, errno);
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        self.record_list(path, &names);
        Ok(names)
    }
}

/// Reads to the end, behind what is there. `std` would ask first how long the file is, which no file of `/proc` tells:
/// two system calls for nothing on each of thousands.
pub(crate) fn read_whole(file: OwnedFd, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    const FREE: usize = 4 << 10;
    loop {
        bytes.reserve(FREE);
        match rustix::io::read(&file, rustix::buffer::spare_capacity(bytes)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// No file of a captured tree is longer: the text of 65,530 mappings, the most a process may have, is 50 MB.
const CAPTURED_FILE_MAX: i64 = 256 << 20;

/// What a capture is made of: directories, and regular files of a length that a host may have. A device or pipe in their
/// place could be read for ever.
fn admit(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    let stat = rustix::fs::fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(fd),
        FileType::RegularFile if stat.st_size <= CAPTURED_FILE_MAX => Ok(fd),
        FileType::RegularFile => Err(Errno::FBIG),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_captured_tree_cannot_lead_outside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        symlink("/etc/passwd", dir.path().join("proc/meminfo")).unwrap();
        let root = Root::captured(dir.path()).unwrap();
        assert!(root.read("proc/meminfo").unwrap_err().is_gone());
        assert!(root.read("../../etc/passwd").is_err());
        assert_eq!(root.list("proc").unwrap(), ["meminfo"]);
    }

    #[test]
    fn what_is_recorded_reads_back_the_same_refusals_included() {
        let dir = tempfile::tempdir().unwrap();
        let open = || rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let live = Root::recorded(open());
        let version = live.read("proc/version").unwrap();
        live.list("proc/self/fd").unwrap();
        // a second question gets the first answer
        let uptime = live.read("proc/uptime").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(live.read("proc/uptime").unwrap(), uptime);
        // /proc/self/mem opens for its owner, and address 0 can't be read: EIO
        assert!(live.read("proc/self/mem").is_err());
        assert!(live.read("proc/no-such-file").unwrap_err().is_gone());
        live.finish_recording().unwrap();

        let replay = Root::captured(dir.path()).unwrap();
        assert_eq!(replay.read("/proc/./version").unwrap(), version);
        assert_eq!(replay.list("proc/self/fd").unwrap().len(), 0);
        let refused = replay.read("proc/self/mem").unwrap_err();
        assert_eq!(
            refused.source.raw_os_error(),
            Some(Errno::IO.raw_os_error())
        );
        assert!(replay.read("proc/no-such-file").unwrap_err().is_gone());
    }

    #[test]
    fn what_cannot_be_written_is_told_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc/version")).unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let live = Root::recorded(fd);
        live.read("proc/version").unwrap();
        let told = live.finish_recording().unwrap_err();
        assert_eq!(told.to_string(), "cannot record proc/version");
    }

    #[test]
    fn the_live_host_has_a_meminfo() {
        assert!(
            Root::live()
                .read("proc/meminfo")
                .unwrap()
                .starts_with(b"MemTotal:")
        );
    }
}
