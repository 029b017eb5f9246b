//! The watcher's lock: whether there is one, and telling it that records have changed.

use super::{Runtime, RuntimeError};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Held by the watcher: there is only one.
#[derive(Debug)]
pub(crate) struct WatcherLock {
    path: PathBuf,
    _lock: File,
}

impl WatcherLock {
    /// The file that is opened for writing to tell the watcher that records have changed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// How often the watcher's lock is tried, and how long between: who only looks whether there is one holds it for a moment.
const LOCK_TRIES: u32 = 10;
const BETWEEN_LOCK_TRIES: Duration = Duration::from_millis(5);

impl Runtime {
    fn watcher_file(&self) -> (PathBuf, Result<File, RuntimeError>) {
        let path = self.dir.with_file_name("watcher.lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(RuntimeError::new("open", &path));
        (path, file)
    }

    /// Makes us the watcher; `None` when there is one.
    pub(crate) fn lock_watcher(&self) -> Result<Option<WatcherLock>, RuntimeError> {
        let (path, file) = self.watcher_file();
        let lock = file?;
        for _ in 0..LOCK_TRIES {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(WatcherLock { path, _lock: lock })),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(BETWEEN_LOCK_TRIES),
                Err(errno) => return Err(RuntimeError::new("lock", &path)(errno)),
            }
        }
        Ok(None)
    }

    /// Whether there is a watcher.
    ///
    /// # Errors
    /// When its lock can't be looked at.
    pub fn is_watched(&self) -> Result<bool, RuntimeError> {
        let (path, file) = self.watcher_file();
        match rustix::fs::flock(&file?, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(RuntimeError::new("lock", &path)(errno)),
        }
    }

    /// Tells the watcher, if there is one, that records have changed: it sees the file closed that was opened to write.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(crate) fn tell_watcher(&self) -> Result<(), RuntimeError> {
        self.watcher_file().1.map(drop)
    }
}
