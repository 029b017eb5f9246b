//! What stands still: which trees are parked, and what the guard itself has frozen or parked, and why.
//!
//! The guard's own notes are files in a directory in memory, one for each workload, with the group's path in them, written by whoever does the act and
//! before it is done. So they outlive any of us, and whoever starts next goes on from them:
//!
//! ```text
//! /run/plimsoll/guard/stopped/frozen-pressure-g1234      the group with inode 1234, for want of memory
//!                             parked-resting-g1234       the same, and it was idle
//!                             parked-idle-g1234          by its rule
//!                             parked-pressure-p567-8901  process 567, which started at tick 8901
//! ```

use super::WatchError;
use crate::hand::crew::CREW;
use crate::observation::{Cause, Id, Standing};
use plimsoll_proc::text::number;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom, openat, seek, statat, unlinkat,
};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More than this can't be stopped at a time.
const MOST: usize = 1024;

/// A note of the guard's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// What was done: [`Standing::Frozen`] or [`Standing::Parked`].
    pub standing: Standing,
    /// Why.
    pub cause: Cause,
    /// Whether it was idle.
    pub was_idle: bool,
    /// To whom.
    pub id: Id,
}

const STANDINGS: [(&str, Standing); 2] =
    [("frozen", Standing::Frozen), ("parked", Standing::Parked)];
/// A cause, and whether the workload was idle.
const CAUSES: [(&str, Cause, bool); 3] = [
    ("pressure", Cause::Pressure, false),
    ("resting", Cause::Pressure, true),
    ("idle", Cause::Idle, true),
];

/// The name of its note.
impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = STANDINGS.iter().find(|(_, it)| *it == self.standing);
        // Who is parked by its rule is idle whatever else is said of it.
        let is_it = |(_, cause, was_idle): &&(&str, Cause, bool)| {
            *cause == self.cause && (*was_idle == self.was_idle || *cause == Cause::Idle)
        };
        let standing = standing.map_or("", |(word, _)| word);
        let cause = CAUSES.iter().find(is_it).map_or("", |(word, ..)| word);
        write!(f, "{standing}-{cause}-")?;
        match self.id {
            Id::Group(inode) => write!(f, "g{inode}"),
            Id::Process { pid, start_ticks } => write!(f, "p{pid}-{start_ticks}"),
        }
    }
}

impl Stopped {
    /// From the name of a note.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let mut parts = name.splitn(3, |byte| *byte == b'-');
        let (standing, cause, id) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, standing) = STANDINGS
            .iter()
            .find(|(word, _)| word.as_bytes() == standing)?;
        let (_, cause, was_idle) = CAUSES.iter().find(|(word, ..)| word.as_bytes() == cause)?;
        let id = match id.split_first()? {
            (b'g', inode) => Id::Group(number(inode)?),
            (b'p', name) => process(name)?,
            _ => return None,
        };
        Some(Self {
            standing: *standing,
            cause: *cause,
            was_idle: *was_idle,
            id,
        })
    }
}

/// `PID-STARTTIME`
fn process(name: &[u8]) -> Option<Id> {
    let mut parts = name.splitn(2, |byte| *byte == b'-');
    Some(Id::Process {
        pid: u32::try_from(number(parts.next()?)?).ok()?,
        start_ticks: number(parts.next()?)?,
    })
}

/// Notes that something will now be stopped; `path` is where a group lies below the mount point.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub fn mark(run: &Path, stopped: &Stopped, path: &OsStr) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut note = options.open(notes(run).join(stopped.to_string()))?;
    note.write_all(path.as_bytes())
}

/// Everything that is noted, each with its path. What can't be read is passed over.
///
/// # Errors
/// When the notes can't be listed.
pub fn all(run: &Path) -> io::Result<Vec<(Stopped, OsString)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(notes(run))? {
        let entry = entry?;
        if let Some(stopped) = Stopped::parse(entry.file_name().as_bytes()) {
            let path = fs::read(entry.path()).unwrap_or_default();
            all.push((stopped, OsString::from_vec(path)));
        }
    }
    Ok(all)
}

/// It runs again, or never was stopped.
///
/// # Errors
/// As `unlink(2)`; what is not there is no error.
pub fn unmark(run: &Path, stopped: &Stopped) -> io::Result<()> {
    match fs::remove_file(notes(run).join(stopped.to_string())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where notes are, below the guard's own directory.
pub(crate) fn notes(run: &Path) -> PathBuf {
    run.join("stopped")
}

/// Both directories, and what they say.
#[derive(Debug)]
pub(super) struct StoppedDir {
    notes: OwnedFd,
    /// Made with the first tree that is parked.
    parked: Option<OwnedFd>,
    parked_path: CString,
    /// What was noted.
    noted: Vec<Stopped>,
    /// The first process of every parked tree.
    trees: Vec<Id>,
    /// Those that a hand is at.
    under_way: [Option<Id>; CREW],
}

impl StoppedDir {
    pub(super) fn open(run: &Path, parked: &Path) -> Result<Self, WatchError> {
        let notes = notes(run);
        let failed = |error: io::Error| WatchError::Stopped(notes.clone(), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&notes)
            .map_err(failed)?;
        let open = openat(
            CWD,
            &notes,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let path = parked.as_os_str().as_bytes();
        Ok(Self {
            notes: open.map_err(|errno| failed(errno.into()))?,
            parked: None,
            parked_path: CString::new(path).map_err(|error| failed(error.into()))?,
            noted: Vec::with_capacity(MOST),
            trees: Vec::with_capacity(MOST),
            under_way: [None; CREW],
        })
    }

    /// Reads both.
    pub(super) fn read(&mut self, under_way: [Option<Id>; CREW]) {
        self.under_way = under_way;
        self.noted.clear();
        self.trees.clear();
        let noted = &mut self.noted;
        each_name(&self.notes, |name| {
            if let Some(stopped) = Stopped::parse(name).filter(|_| noted.len() < noted.capacity()) {
                noted.push(stopped);
            }
        });
        if self.parked.is_none() {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.parked = openat(CWD, &*self.parked_path, flags, Mode::empty()).ok();
        }
        let trees = &mut self.trees;
        if let Some(parked) = &self.parked {
            each_name(parked, |name| {
                let id = process(name).filter(|_| trees.len() < trees.capacity());
                trees.extend(id.filter(|id| has_record(parked, *id)));
            });
        }
    }

    /// Whether a tree that begins with this process is parked, or being parked.
    pub(super) fn is_parked(&self, pid: u32) -> bool {
        self.trees
            .iter()
            .any(|id| matches!(id, Id::Process { pid: first, .. } if *first == pid))
    }

    /// How a workload stands, and the note of it where that is the guard's doing; `parked` and `frozen` say what is so.
    pub(super) fn standing(
        &self,
        id: Id,
        parked: bool,
        frozen: bool,
    ) -> (Standing, Option<&Stopped>) {
        let standing = match (parked, frozen) {
            (true, _) => Standing::Parked,
            (false, true) => Standing::Frozen,
            (false, false) => Standing::Running,
        };
        let is_it = |note: &&Stopped| note.id == id && note.standing == standing;
        (standing, self.noted.iter().rfind(is_it))
    }

    /// Removes the notes of a workload that runs, unless it is about to be stopped.
    pub(super) fn forget(&self, id: Id) {
        if self.under_way.contains(&Some(id)) {
            return;
        }
        for note in self.noted.iter().filter(|note| note.id == id) {
            let mut path = super::path::ShortPath::default();
            if let Some(path) = path.of(format_args!("{note}")) {
                let _ = unlinkat(&self.notes, path, AtFlags::empty()); // the next look tries again
            }
        }
    }
}

/// Without a record, nothing has been done to a tree, or nothing is left of it.
fn has_record(parked: &OwnedFd, tree: Id) -> bool {
    let Id::Process { pid, start_ticks } = tree else {
        return false;
    };
    let mut path = super::path::ShortPath::default();
    let path = path.of(format_args!("{pid}-{start_ticks}/record"));
    path.is_some_and(|path| statat(parked, path, AtFlags::empty()).is_ok())
}

/// Gives the name of everything in a directory.
pub(super) fn each_name(directory: &OwnedFd, mut name: impl FnMut(&[u8])) {
    each_entry(directory, |entry, _, _| name(entry));
}

/// Gives the name of everything in a directory, what it is where the file system says so, and its inode.
pub(super) fn each_entry(directory: &OwnedFd, mut each: impl FnMut(&[u8], FileType, u64)) {
    if seek(directory, SeekFrom::Start(0)).is_err() {
        return;
    }
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        each(entry.file_name().to_bytes(), entry.file_type(), entry.ino());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_it_says() {
        let all = [
            (
                Standing::Frozen,
                Cause::Pressure,
                false,
                Id::Group(7),
                "frozen-pressure-g7",
            ),
            (
                Standing::Parked,
                Cause::Pressure,
                true,
                Id::Group(7),
                "parked-resting-g7",
            ),
            (
                Standing::Parked,
                Cause::Idle,
                true,
                Id::Process {
                    pid: 5,
                    start_ticks: 9,
                },
                "parked-idle-p5-9",
            ),
        ];
        for (standing, cause, was_idle, id, name) in all {
            let stopped = Stopped {
                standing,
                cause,
                was_idle,
                id,
            };
            assert_eq!(stopped.to_string(), name);
            assert_eq!(Stopped::parse(name.as_bytes()), Some(stopped));
        }
        for name in [
            "frozen-pressure-",
            "frozen-x-g1",
            "frozen-pressure-g-1",
            "x",
            "parked-idle-p5",
            "..",
            "parked-idle-p1-2-3",
        ] {
            assert_eq!(Stopped::parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn notes_are_found_again_and_nonsense_is_passed_over() {
        let run = tempfile::tempdir().unwrap();
        let parked = run.path().join("parked");
        let mut dir = StoppedDir::open(run.path(), &parked).unwrap();
        let note = Stopped {
            standing: Standing::Frozen,
            cause: Cause::Pressure,
            was_idle: false,
            id: Id::Group(7),
        };
        mark(run.path(), &note, OsStr::new("/a")).unwrap();
        assert_eq!(all(run.path()).unwrap(), [(note, "/a".into())]);
        fs::write(notes(run.path()).join("frozen-pressure-\n"), "x").unwrap();
        fs::create_dir_all(parked.join("5-9")).unwrap();
        dir.read([None; CREW]);
        assert!(!dir.is_parked(5), "nothing has been done to it yet");
        fs::write(parked.join("5-9/record"), "").unwrap();
        dir.read([None, Some(Id::Group(7)), None]);
        assert_eq!(dir.noted, [note]);
        assert!(dir.is_parked(5) && !dir.is_parked(9));
        assert_eq!(
            dir.standing(Id::Group(7), false, true),
            (Standing::Frozen, Some(&note))
        );
        assert_eq!(
            dir.standing(Id::Group(8), false, true),
            (Standing::Frozen, None)
        );
        dir.forget(Id::Group(7));
        dir.read([None; CREW]);
        assert_eq!(dir.noted, [note], "a hand is at it");
        dir.forget(Id::Group(7));
        dir.read([None; CREW]);
        assert!(dir.noted.is_empty());
        unmark(run.path(), &note).unwrap();
    }
}
