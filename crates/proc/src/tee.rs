//! The recording side of [`Root`](crate::Root): whatever is read from the live host is also written below a
//! directory, which then is a tree that `Root::captured` reads to the same effect.
//!
//! A file that was refused (`EACCES`, `EIO`, …) is part of what was seen, so the error is kept too, in
//! [`ERRORS_FILE`]; a file that was not there is simply not in the tree. Files are 0600 and directories 0700: a
//! capture holds what only root may have been allowed to read.

use plimsoll_units::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where a captured tree keeps the errors that reading the live host gave.
pub(crate) const ERRORS_FILE: &str = "plimsoll/errors.json";

/// The errors of a captured tree: path, as hexadecimal bytes (a path need not be UTF-8), to errno.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Errors(BTreeMap<String, i32>);

impl Errors {
    pub(crate) fn get(&self, path: &Path) -> Option<Errno> {
        if self.0.is_empty() {
            return None; // the usual case, and a path may be long
        }
        let errno = self.0.get(&key(path))?;
        Some(Errno::from_raw_os_error(*errno))
    }
}

fn key(path: &Path) -> String {
    let bytes = within_root(path);
    let bytes = bytes.as_os_str().as_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `path` without `.`, `..` and leading slashes, where `..` at the top stays there: what `RESOLVE_IN_ROOT` makes of it.
fn within_root(path: &Path) -> PathBuf {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => {
                inside.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    inside
}

/// How much a recorded tree holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Files.
    pub files: u64,
    /// What is in them.
    pub bytes: Bytes,
}

/// Writes what is read below a directory.
#[derive(Debug)]
pub(crate) struct Tee {
    into: OwnedFd,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    errors: Errors,
    /// What is in the tree, with its size.
    files: HashMap<PathBuf, Bytes>,
    lists: HashMap<PathBuf, Vec<OsString>>,
    /// The first thing that could not be written: from then on the capture is worthless.
    failure: Option<(PathBuf, io::Error)>,
}

impl Tee {
    pub(crate) fn new(into: OwnedFd) -> Self {
        Self {
            into,
            seen: Mutex::default(),
        }
    }

    /// Keeps a file as it was read.
    pub(crate) fn file(&self, path: &Path, bytes: &[u8]) {
        let path = within_root(path);
        if let Err(error) = self.write(&path, bytes) {
            self.note_failure(path, error);
        } else {
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.seen().files.insert(path, Bytes(size));
        }
    }

    /// What opening `path` gave before: the tree holds one answer to each question, so the look that is being recorded
    /// gets that answer too, however often it asks.
    pub(crate) fn again(&self, path: &Path) -> Option<Result<OwnedFd, Errno>> {
        let path = within_root(path);
        let seen = self.seen();
        if let Some(errno) = seen.errors.get(&path) {
            return Some(Err(errno));
        }
        seen.files.get(&path)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Some(rustix::fs::openat(&self.into, &path, flags, Mode::empty()))
    }

    /// What listing `path` gave before.
    pub(crate) fn listed(&self, path: &Path) -> Option<Vec<OsString>> {
        self.seen().lists.get(&within_root(path)).cloned()
    }

    /// Keeps a directory that was listed, so that it can be listed again even when nothing in it was read.
    pub(crate) fn directory(&self, path: &Path, names: &[OsString]) {
        let path = within_root(path);
        match self.make_directories(&path) {
            Ok(()) => drop(self.seen().lists.insert(path, names.to_vec())),
            Err(error) => self.note_failure(path, error),
        }
    }

    /// Keeps an error, other than that the file is not there.
    pub(crate) fn error(&self, path: &Path, error: &io::Error) {
        if let Some(errno) = error.raw_os_error() {
            self.seen().errors.0.insert(key(path), errno);
        }
    }

    /// Writes the errors down; tells whether everything up to here is in the tree.
    pub(crate) fn finish(&self) -> Result<Recorded, (PathBuf, io::Error)> {
        let errors = serde_json::to_vec(&self.seen().errors).unwrap_or_default();
        self.file(Path::new(ERRORS_FILE), &errors);
        let mut seen = self.seen();
        let recorded = Recorded {
            files: u64::try_from(seen.files.len()).unwrap_or(u64::MAX),
            bytes: seen.files.values().copied().sum(),
        };
        seen.failure.take().map_or(Ok(recorded), Err)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, path: PathBuf, error: io::Error) {
        self.seen().failure.get_or_insert((path, error));
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let open = || rustix::fs::openat(&self.into, path, flags, mode);
        let file = match open() {
            Err(Errno::NOENT) => {
                self.make_directories(path.parent().unwrap_or(Path::new("")))?;
                open()?
            }
            other => other?,
        };
        File::from(file).write_all(bytes)
    }

    fn make_directories(&self, path: &Path) -> io::Result<()> {
        let mut made = PathBuf::new();
        for name in path.components() {
            made.push(name);
            match rustix::fs::mkdirat(&self.into, &made, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
