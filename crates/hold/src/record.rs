//! What is held on this host: a file for each hold, in memory, for as long as it lasts.
//!
//! `/run/plimsoll/holds/NAME`, mode 0600 in a directory of 0700. A record is written before the group is changed and says what
//! undoes it, so whatever kills a plimsoll, the next one can release the hold.

use crate::apply::Previous;
use crate::{HoldError, Numbers};
use plimsoll_cgroup::mount::Version;
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::runtime_dir;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What people call it.
    pub name: String,
    /// What was asked for.
    pub numbers: Numbers,
    /// 1 or 2.
    pub version: u8,
    /// The directory of the group that is held.
    pub group: PathBuf,
    /// Its unit, where systemd manages it.
    pub unit: Option<String>,
    /// Beside a v1 group: one of v2 with the same processes, which counts their pressure.
    pub pressure: Option<PathBuf>,
    /// The group was made for this hold; with the directories that its processes go back to.
    pub own: Option<Homes>,
    /// What its files said before.
    pub previous: Vec<Previous>,
    /// The plimsoll that puts somebody in, or waits for its command.
    pub runner: Option<ProcessName>,
}

/// Where the processes of a group of our own came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homes {
    /// In the memory hierarchy.
    pub group: PathBuf,
    /// In the one of v2 beside it.
    pub pressure: Option<PathBuf>,
}

impl Record {
    /// Which interface its group has.
    #[must_use]
    pub fn interface(&self) -> Version {
        if self.version == 1 {
            Version::V1
        } else {
            Version::V2
        }
    }
}

/// What whoever watches its group wants to know of a hold, read without allocation but for what JSON has to escape.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Brief<'t> {
    /// What people call it.
    #[serde(borrow)]
    pub name: Cow<'t, str>,
    /// What was asked for.
    pub numbers: Numbers,
    /// The directory of the group that is held.
    #[serde(borrow)]
    pub group: Cow<'t, str>,
}

impl<'t> Brief<'t> {
    /// From the text of a record; `None` when it is none.
    #[must_use]
    pub fn of(record: &'t [u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }
}

/// All holds of this user.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Those of this user.
    ///
    /// # Errors
    /// When the directory can't be made, or is not this user's alone.
    pub fn of_this_user() -> Result<Self, HoldError> {
        Self::at(&runtime_dir::of_this_user())
    }

    /// Those in a directory of the caller's.
    ///
    /// # Errors
    /// As [`Records::of_this_user`].
    pub fn at(base: &Path) -> Result<Self, HoldError> {
        let dir = base.join("holds");
        runtime_dir::make(&dir).map_err(failed("make", &dir))?;
        for dir in [base, &dir] {
            runtime_dir::trust(dir).map_err(failed("trust", dir))?;
        }
        Ok(Self { dir })
    }

    /// The directory: a file for each, called by its name.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn all(&self) -> Result<Vec<Record>, HoldError> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let entry = entry.map_err(failed("list", &self.dir))?;
            if let Some(name) = entry.file_name().to_str().filter(|name| is_name(name)) {
                records.extend(self.find(name)?);
            }
        }
        records.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(records)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn find(&self, name: &str) -> Result<Option<Record>, HoldError> {
        let path = self.path(name)?;
        match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => {
                let text = text.map_err(failed("read", &path))?;
                let record = serde_json::from_slice(&text).map_err(io::Error::from);
                record.map(Some).map_err(failed("understand", &path))
            }
        }
    }

    /// Writes a new one.
    ///
    /// # Errors
    /// [`HoldError::Exists`] where the name is taken; as `write(2)`.
    pub fn add(&self, record: &Record) -> Result<(), HoldError> {
        let path = self.path(&record.name)?;
        let taken = |_| HoldError::Exists {
            name: record.name.clone(),
        };
        // Linked in its place as a whole: who comes second finds it there.
        let new = self.write_aside(record)?;
        let linked = std::fs::hard_link(&new, &path);
        let _ = std::fs::remove_file(&new); // whatever became of the link
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken(error)),
            linked => linked.map_err(failed("make", &path)),
        }
    }

    /// Removes one; that it is gone is no error.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub fn remove(&self, name: &str) -> Result<(), HoldError> {
        let path = self.path(name)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a plimsoll that was killed while it wrote a record has left beside them.
    ///
    /// # Errors
    /// When the directory can't be listed.
    pub fn sweep(&self, root: &Root) -> Result<(), HoldError> {
        for entry in std::fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let name = entry.file_name();
            let aside = name.to_str().filter(|name| name.starts_with('.'));
            let writer: Option<u32> = aside.and_then(|name| name.rsplit('.').next()?.parse().ok());
            if writer.is_some_and(|pid| root.open_dir(format!("proc/{pid}")).is_err()) {
                let _ = std::fs::remove_file(entry.path()); // another may have been at it
            }
        }
        Ok(())
    }

    fn write_aside(&self, record: &Record) -> Result<PathBuf, HoldError> {
        // No name begins with a dot, so nobody takes it for a record.
        let new = self
            .dir
            .join(format!(".{}.{}", record.name, std::process::id()));
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|errno| failed("make", &new)(errno.into()))?);
        let text =
            serde_json::to_vec(record).map_err(|error| failed("write", &new)(error.into()))?;
        file.write_all(&text).map_err(failed("write", &new))?;
        Ok(new)
    }

    fn path(&self, name: &str) -> Result<PathBuf, HoldError> {
        if is_name(name) {
            Ok(self.dir.join(name))
        } else {
            Err(HoldError::BadName {
                name: name.to_owned(),
            })
        }
    }
}

/// What a hold may be called: it becomes part of the names of a group, a unit and a file.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(letter) && !name.starts_with(['.', '-'])
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HoldError {
    let path = path.to_owned();
    move |source| HoldError::Record {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_units::Bytes;

    fn record(name: &str) -> Record {
        Record {
            name: name.to_owned(),
            numbers: Numbers {
                ram: Bytes(1),
                swap: Bytes(2),
            },
            version: 2,
            group: "/sys/fs/cgroup/x".into(),
            unit: None,
            pressure: None,
            own: None,
            previous: Vec::new(),
            runner: None,
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_again() {
        let base = tempfile::tempdir().unwrap();
        let records = Records::at(&base.path().join("plimsoll")).unwrap();
        records.add(&record("b")).unwrap();
        records.add(&record("a")).unwrap();
        assert!(matches!(
            records.add(&record("a")),
            Err(HoldError::Exists { .. })
        ));
        let names: Vec<String> = records
            .all()
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(records.find("a").unwrap(), Some(record("a")));
        records.remove("a").unwrap();
        records.remove("a").unwrap();
        assert_eq!(records.find("a").unwrap(), None);
        assert_eq!(records.all().unwrap().len(), 1);
    }

    #[test]
    fn in_brief_it_is_the_same_and_a_plain_one_is_borrowed() {
        for group in ["/sys/fs/cgroup/x", r"/sys/fs/cgroup/a\x2db.service"] {
            let record = Record {
                group: group.into(),
                ..record("a")
            };
            let text = serde_json::to_vec(&record).unwrap();
            let brief = Brief::of(&text).unwrap();
            assert_eq!((&*brief.name, brief.numbers), ("a", record.numbers));
            assert_eq!(brief.group, group);
            let borrowed = matches!(brief.group, Cow::Borrowed(_));
            assert_eq!(borrowed, !group.contains('\\'));
        }
        assert_eq!(Brief::of(b"{"), None);
    }

    #[test]
    fn what_a_writer_that_is_gone_left_is_swept_away() {
        let base = tempfile::tempdir().unwrap();
        let records = Records::at(&base.path().join("plimsoll")).unwrap();
        records.add(&record("a")).unwrap();
        let beside = |pid: u32| records.dir.join(format!(".a.b.{pid}"));
        // No process has either of these but we.
        for pid in [u32::MAX, std::process::id()] {
            std::fs::write(beside(pid), "").unwrap();
        }
        records.sweep(&Root::live()).unwrap();
        assert!(!beside(u32::MAX).exists() && beside(std::process::id()).exists());
        assert_eq!(records.all().unwrap().len(), 1);
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            ".a",
            "-a",
            "a b",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(!is_name(name), "{name}");
        }
        for name in ["a", "nightly-build.2", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
    }
}
