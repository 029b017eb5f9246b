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

use crate::pager::{FirstTouches, Touch};
use crate::session::{GUARDIAN, Guarded};
use crate::store::is_in_memory;
use crate::wake::{Waits, WakeOn};
use plimsoll_surgery::freeze;
use plimsoll_surgery::tree::ProcessName;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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

/// The means that a tree was parked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "via")]
pub enum Means {
    /// The kernel's swap.
    Swap,
    /// A store of ours.
    Store {
        /// Its directory.
        dir: PathBuf,
    },
}

impl Means {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Store { .. } => "store",
        }
    }

    /// The store, where that is the means.
    #[must_use]
    pub fn store(&self) -> Option<&Path> {
        match self {
            Self::Swap => None,
            Self::Store { dir } => Some(dir),
        }
    }
}

/// How far a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// On its way out; if nobody is at it, it was interrupted and wants to be resumed.
    Parking,
    /// Out.
    Parked,
    /// On its way back; if nobody is at it, its threads may wait for a pager.
    Resuming,
}

/// A process of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub name: ProcessName,
    /// What it calls itself.
    pub comm: String,
    /// The number of the userfaultfd in its descriptor table, once it has one.
    pub uffd: Option<i32>,
    /// Where it had huge pages: from, up to.
    #[serde(default)]
    pub huge: Vec<(u64, u64)>,
}

/// A child that a process of the tree forked while it was being resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Which.
    pub name: ProcessName,
    /// The number of its own userfaultfd in its descriptor table, once it has it.
    pub uffd: Option<i32>,
}

/// What is known of a parked tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this layout: 1.
    pub version: u32,
    /// How far it is.
    pub state: State,
    /// Whether only what is touched is brought back, until somebody rings the [`Entry::bell`].
    #[serde(default)]
    pub lazy: bool,
    /// By which means.
    pub means: Means,
    /// When it was parked, in seconds since 1970.
    pub since_s: u64,
    /// What keeps it from running, once anything does.
    pub frozen: Option<freeze::Plan>,
    /// The tree; the first is the one that was asked for.
    pub processes: Vec<Member>,
    /// Children that it forked while it was being resumed, as far as they are known.
    #[serde(skip)]
    pub children: Vec<Child>,
    /// Bytes of memory that left, pages shared by fork counted once.
    pub moved_bytes: u64,
    /// Bytes that a resume takes on top: pages that were shared come back to each process.
    #[serde(default)]
    pub copies_bytes: u64,
    /// Bytes that they take where they are.
    pub stored_bytes: u64,
    /// What wakes it.
    #[serde(default)]
    pub wake: WakeOn,
    /// What its threads waited for when they were stopped.
    #[serde(default)]
    pub waits: Waits,
}

/// The directory of one tree, locked: nobody else works on it.
#[derive(Debug)]
pub struct Entry {
    dir: PathBuf,
    touched: PathBuf,
    _lock: File,
}

impl Record {
    /// The processes, and the children known.
    pub fn names(&self) -> impl Iterator<Item = ProcessName> + use<'_> {
        let processes = self.processes.iter().map(|member| member.name);
        processes.chain(self.children.iter().map(|child| child.name))
    }
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
        let user = rustix::process::geteuid();
        let run = Path::new("/run");
        let base = match std::env::var_os("XDG_RUNTIME_DIR") {
            _ if user.is_root() && is_in_memory(run) => run.join("plimsoll"),
            _ if user.is_root() => PathBuf::from("/dev/shm/plimsoll-0"),
            Some(dir) => Path::new(&dir).join("plimsoll"),
            None => PathBuf::from(format!("/dev/shm/plimsoll-{}", user.as_raw())),
        };
        Self::at(base)
    }

    /// One in a directory of the caller's.
    ///
    /// # Errors
    /// As [`Runtime::of_this_user`].
    pub fn at(base: PathBuf) -> Result<Self, RuntimeError> {
        let dir = base.join("parked");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(RuntimeError::new("make", &dir))?;
        let touched = base.join("touched");
        for dir in [&base, &dir] {
            let metadata =
                std::fs::symlink_metadata(dir).map_err(RuntimeError::new("stat", dir))?;
            let own = metadata.uid() == rustix::process::geteuid().as_raw();
            if !metadata.is_dir() || !own || metadata.mode() & 0o077 != 0 {
                let error = io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it is not this user's alone (mode must be 0700)",
                );
                return Err(RuntimeError::new("trust", dir)(error));
            }
        }
        Ok(Self { dir, touched })
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

    /// Takes the tree whose first process is this, for as long as the entry lives; makes its directory where
    /// there is none. `None` when another plimsoll is at it.
    ///
    /// # Errors
    /// When the directory or the lock can't be made.
    pub fn lock(&self, top: ProcessName) -> Result<Option<Entry>, RuntimeError> {
        let dir = self.dir.join(directory_name(top));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(RuntimeError::new("make", &dir)(error));
            }
            _ => {}
        }
        let path = dir.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(RuntimeError::new("open", &path))?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Some(Entry {
                        dir,
                        touched: self.touched.clone(),
                        _lock: File::from(lock),
                    }));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(RuntimeError::new("lock", &path)(errno)),
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
            Ok(_) | Err(rustix::io::Errno::NXIO | rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(RuntimeError::new("ring", &path)(errno)),
        }
    }

    /// Forgets what processes that are gone touched first.
    pub fn sweep_first_touches(&self, lives: impl Fn(ProcessName) -> bool) {
        for entry in std::fs::read_dir(&self.touched).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| {
                let (pid, start_ticks) = name.split_once('-')?;
                Some(ProcessName {
                    pid: pid.parse().ok()?,
                    start_ticks: start_ticks.parse().ok()?,
                })
            });
            if !process.is_some_and(&lives) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What processes touched first: nothing but a hint, so whatever is wrong with it, it is as if there were none.
impl Entry {
    /// That of a process; nothing where it was never resumed.
    #[must_use]
    pub fn first_touches(&self, process: ProcessName) -> FirstTouches {
        let text = std::fs::read(self.touched.join(directory_name(process)));
        let touches = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        FirstTouches::new(touches.unwrap_or_default())
    }

    /// Keeps it for the next time.
    pub fn keep_first_touches(&self, process: ProcessName, touches: &[Touch]) {
        let path = self.touched.join(directory_name(process));
        let new = path.with_extension("new");
        let kept = serde_json::to_vec(touches).ok().and_then(|text| {
            let made = std::fs::DirBuilder::new().mode(0o700).create(&self.touched);
            made.or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &path))
            .ok()
        });
        if kept.is_none() {
            let _ = std::fs::remove_file(&new);
        }
    }
}

fn directory_name(process: ProcessName) -> String {
    format!("{}-{}", process.pid, process.start_ticks)
}

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
/// How long the guardian of a plimsoll that was killed is given to let go of its lock, and between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

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
        RecordFile(self.dir.join(name))
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
        Logs {
            dir: self.dir.clone(),
            number: slot.to_string(),
            children: 0,
        }
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

/// A small file that is only ever there as a whole.
#[derive(Debug)]
pub(crate) struct RecordFile(PathBuf);

impl RecordFile {
    /// Writes it, or replaces it.
    pub(crate) fn write(&self, content: &impl Serialize) -> Result<(), RuntimeError> {
        let new = self.0.with_added_extension("new");
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let text = serde_json::to_vec(content).map_err(RuntimeError::new("write", &new))?;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR);
        let mut file = file
            .map(File::from)
            .map_err(RuntimeError::new("make", &new))?;
        file.write_all(&text)
            .map_err(RuntimeError::new("write", &new))?;
        std::fs::rename(&new, &self.0).map_err(RuntimeError::new("rename", &new))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, RuntimeError> {
        let text = std::fs::read(&self.0).map_err(RuntimeError::new("read", &self.0))?;
        serde_json::from_slice(&text).map_err(RuntimeError::new("understand", &self.0))
    }

    /// What it says; `None` where there is none.
    pub(crate) fn read_if_there<T: DeserializeOwned>(&self) -> Result<Option<T>, RuntimeError> {
        match self.read() {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
}

/// The files of a tree whose names begin like this, in order of number.
fn numbered<T: DeserializeOwned>(dir: &Path, prefix: &str) -> Result<Vec<T>, RuntimeError> {
    let failed = || RuntimeError::new("list", dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let name = name.to_str().unwrap_or_default();
        let number = name.strip_prefix(prefix).unwrap_or_default();
        let numbers: Result<Vec<u64>, _> = number.split('.').map(str::parse).collect();
        if let Ok(numbers) = numbers {
            names.push((numbers, name.to_owned()));
        }
    }
    names.sort_unstable();
    let read = |(_, name)| RecordFile(dir.join(name)).read();
    names.into_iter().map(read).collect()
}

fn sessions(dir: &Path) -> Result<Vec<Guarded>, RuntimeError> {
    numbered(dir, GUARDIAN)
}

fn read_record(dir: &Path) -> Result<Record, RuntimeError> {
    let path = dir.join("record");
    let mut record: Record = RecordFile(path.clone()).read()?;
    record.children = numbered(dir, CHILD)?;
    if record.version == VERSION {
        Ok(record)
    } else {
        let error = io::Error::other(format!("it has version {}", record.version));
        Err(RuntimeError::new("understand", &path)(error))
    }
}

/// What the files of children are called, before the numbers.
const CHILD: &str = "child.";

/// Of [`Record`].
pub const VERSION: u32 = 1;

/// Names the logs of one process and of the children it forks while it is resumed.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    /// Of the process; of a child after a dot.
    number: String,
    children: usize,
}

impl Logs {
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
        RecordFile(self.dir.join(format!("{CHILD}{}", self.number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
