//! What is parked on this host: one directory per tree, on tmpfs, for as long as anything of it is parked.
//!
//! ```text
//! /run/plimsoll/parked/PID-STARTTIME/     0700
//!   record       who, by which means, since when, in which state; replaced as a whole
//!   lock         held by the plimsoll that works on the tree
//!   bell         a pipe: whoever writes to it wants all of a lazily resumed tree back
//!   events.N     what process N of the tree did to its memory while it was being resumed
//!   events.N.M   what the child did that it forked as its Mth meanwhile; and so on
//!   child.N.M    which process that child is, once that is known
//!   guardian.N   the guardian of the Nth plimsoll that resumed the tree (`session`)
//! /run/plimsoll/watcher.lock              held by the watcher (see [`crate::wake`])
//! /run/plimsoll/touched/PID-STARTTIME      what a process touched first when it was last resumed; while it lives
//! ```
//!
//! Parked processes end with the host, so nothing here has to outlive it; and it must not lie on the disk
//! that may be full. A record is written before anything is done to its tree, so whatever kills a plimsoll, the
//! next one finds what it was at.

mod entry;
mod file;
mod logs;
mod record;
mod touched;
mod watcher;

pub use self::entry::Entry;
pub(crate) use self::file::RecordFile;
pub use self::logs::Logs;
pub use self::record::{Child, Means, Member, Record, State, VERSION};
pub(crate) use self::watcher::WatcherLock;

use self::file::numbered;
use self::record::read_record;
use crate::session::{GUARDIAN, Guarded};
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::runtime_dir;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where records are kept.
#[derive(Debug, Clone)]
pub struct Runtime {
    dir: PathBuf,
    /// Where first touches are kept.
    touched: PathBuf,
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct RuntimeError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl RuntimeError {
    fn new<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self {
            operation,
            path,
            source: source.into(),
        }
    }
}

impl Runtime {
    /// That of this user: `/run/plimsoll` for root where `/run` is in memory, else below `XDG_RUNTIME_DIR`, else in
    /// `/dev/shm`.
    ///
    /// # Errors
    /// When it can't be made, or is not this user's alone.
    pub fn of_this_user() -> Result<Self, RuntimeError> {
        Self::at(runtime_dir::of_this_user())
    }

    /// One in a directory of the caller's.
    ///
    /// # Errors
    /// As [`Runtime::of_this_user`].
    pub fn at(base: PathBuf) -> Result<Self, RuntimeError> {
        let dir = base.join("parked");
        runtime_dir::make(&dir).map_err(RuntimeError::new("make", &dir))?;
        let touched = base.join("touched");
        for dir in [&base, &dir] {
            runtime_dir::trust(dir).map_err(RuntimeError::new("trust", dir))?;
        }
        Ok(Self { dir, touched })
    }

    /// Where the records are, a directory for each tree.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A place beside the records.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    /// The records there are. One that can't be read comes as its error.
    ///
    /// # Errors
    /// When the directory can't be listed.
    pub fn records(&self) -> Result<Vec<Result<Record, RuntimeError>>, RuntimeError> {
        let failed = || RuntimeError::new("list", &self.dir);
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed())? {
            let dir = entry.map_err(failed())?.path();
            match read_record(&dir) {
                // Made, and killed before anything was done: nothing is parked.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                record => records.push(record),
            }
        }
        Ok(records)
    }

    /// Removes what a plimsoll left that was killed before it had written a record, where the process is gone.
    pub(crate) fn sweep_unrecorded(&self, lives: impl Fn(ProcessName) -> bool) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let is_gone = process_of(&entry.file_name()).is_some_and(|process| !lives(process));
            if is_gone && !entry.path().join("record").exists() {
                let _ = std::fs::remove_dir_all(entry.path()); // the next command tries again
            }
        }
    }

    /// Takes the tree whose first process is this, for as long as the entry lives; makes its directory where
    /// there is none. `None` when another plimsoll is at it.
    ///
    /// # Errors
    /// When the directory or the lock can't be made.
    pub fn lock(&self, top: ProcessName) -> Result<Option<Entry>, RuntimeError> {
        let dir = self.dir.join(directory_name(top));
        let begun = Instant::now();
        loop {
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(RuntimeError::new("make", &dir)(error));
                }
                _ => {}
            }
            match take(&dir.join(LOCK))? {
                Taken::Ours(lock) => {
                    return Ok(Some(Entry {
                        dir,
                        touched: self.touched.clone(),
                        _lock: lock,
                    }));
                }
                Taken::Gone => continue,
                Taken::Others => {}
            }
            // The guardian of one that was killed has yet to let go of what it does not hold for anybody.
            if begun.elapsed() > PATIENCE || !sessions(&dir)?.iter().any(Guarded::is_orphaned) {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Rings the [`Entry::bell`] of a tree.
    ///
    /// # Errors
    /// As `open(2)` and `write(2)`; not when nobody listens.
    pub fn ring(&self, top: ProcessName) -> Result<(), RuntimeError> {
        let path = self.dir.join(directory_name(top)).join("bell");
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let rung = rustix::fs::open(&path, flags, Mode::empty())
            .and_then(|bell| rustix::io::write(&bell, b"!"));
        match rung {
            Ok(_) | Err(Errno::NXIO | Errno::NOENT) => Ok(()),
            Err(errno) => Err(RuntimeError::new("ring", &path)(errno)),
        }
    }
}

/// The file in a tree's directory whose lock says that somebody works on the tree.
const LOCK: &str = "lock";

/// How it went to take a tree's lock.
enum Taken {
    Ours(File),
    Others,
    /// Who had it has removed it meanwhile, with all that was known of the tree.
    Gone,
}

fn take(path: &Path) -> Result<Taken, RuntimeError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::NOENT) => return Ok(Taken::Gone),
        opened => opened.map_err(RuntimeError::new("open", path))?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Taken::Others),
        Err(errno) => return Err(RuntimeError::new("lock", path)(errno)),
    }
    let ours = rustix::fs::fstat(&lock).map_err(RuntimeError::new("look at", path))?;
    match rustix::fs::stat(path) {
        Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
            Ok(Taken::Ours(File::from(lock)))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(Taken::Gone),
        Err(errno) => Err(RuntimeError::new("look at", path)(errno)),
    }
}

fn directory_name(process: ProcessName) -> String {
    format!("{}-{}", process.pid, process.start_ticks)
}

fn process_of(directory_name: &OsStr) -> Option<ProcessName> {
    let (pid, start_ticks) = directory_name.to_str()?.split_once('-')?;
    Some(ProcessName {
        pid: pid.parse().ok()?,
        start_ticks: start_ticks.parse().ok()?,
    })
}

/// How long the guardian of a plimsoll that was killed is given to let go of its lock, and between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

fn sessions(dir: &Path) -> Result<Vec<Guarded>, RuntimeError> {
    numbered(dir, GUARDIAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::{Waits, WakeOn};

    const TOP: ProcessName = ProcessName {
        pid: 7,
        start_ticks: 8,
    };

    fn record() -> Record {
        Record {
            version: VERSION,
            state: State::Parking,
            lazy: false,
            means: Means::Store {
                dir: PathBuf::from("/var/lib/x"),
            },
            since_s: 1,
            frozen: None,
            processes: vec![Member {
                name: TOP,
                comm: "sh".to_owned(),
                uffd: None,
                huge: Vec::new(),
            }],
            children: Vec::new(),
            moved_bytes: 0,
            copies_bytes: 0,
            stored_bytes: 0,
            wake: WakeOn::Input,
            waits: Waits::default(),
        }
    }

    #[test]
    fn one_plimsoll_at_a_time_and_records_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(dir.path().join("run")).unwrap();
        let entry = runtime.lock(TOP).unwrap().unwrap();
        assert!(runtime.lock(TOP).unwrap().is_none());
        assert_eq!(entry.record().unwrap(), None);
        assert!(runtime.records().unwrap().is_empty());
        entry.write(&record()).unwrap();
        let found: Vec<_> = runtime.records().unwrap().into_iter().flatten().collect();
        assert_eq!(found, [record()]);
        drop(entry);
        let entry = runtime.lock(TOP).unwrap().unwrap();
        assert_eq!(entry.record().unwrap(), Some(record()));
        entry.remove().unwrap();
        assert!(runtime.records().unwrap().is_empty());
    }

    #[test]
    fn who_looks_while_another_removes_sees_no_error_and_harms_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(dir.path().join("run")).unwrap();
        let work = || {
            for _ in 0..300 {
                assert!(runtime.records().unwrap().iter().all(Result::is_ok));
                let Some(entry) = runtime.lock(TOP).unwrap() else {
                    continue;
                };
                entry.write(&record()).unwrap();
                assert_eq!(entry.record().unwrap(), Some(record()));
                entry.remove().unwrap();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
        assert!(runtime.records().unwrap().is_empty());
    }

    #[test]
    fn a_record_that_makes_no_sense_is_an_error_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(dir.path().join("run")).unwrap();
        let entry = runtime.lock(TOP).unwrap().unwrap();
        for text in ["", "{", "[]", "{\"version\":1}"] {
            std::fs::write(entry.dir.join("record"), text).unwrap();
            assert!(entry.record().is_err(), "{text}");
            assert!(runtime.records().unwrap()[0].is_err(), "{text}");
        }
    }
}
