//! Groups changed: made and removed, entered, limited, frozen, killed.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod.rs` | [`Group`]: an open group, its files, who enters it |
//! | `control_file` | [`ControlFile`]: one file that is opened beforehand, and then written without allocating |
//! | [`v1`], [`v2`] | the settings that each interface has, by their names and types |
//! | [`frozen`] | freezing and thawing, the same way for both |
//! | [`kill`] | all that runs in a group, ended |
//! | [`site`] | where a group of our own can be made |
//! | [`trigger`] | being woken when a group, or the host, waits for memory |
//!
//! A file that a kernel lacks is probed ([`Group::has`]); no version is looked at. Every refusal names the file, what was to
//! be written, and the kernel's reason. Reading is the business of the modules beside this one.
//!
//! `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/{cgroups,memory,freezer-subsystem}.rst`.

mod control_file;
mod error;
pub mod frozen;
pub mod kill;
mod setting;
pub mod site;
pub mod trigger;
pub mod v1;
pub mod v2;

pub use control_file::ControlFile;
pub use error::ControlError;
pub use setting::Setting;

use crate::format::{Format, Pids};
use crate::mount::Version;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open group: what is done to it is done to this group, whatever its name leads to by then.
#[derive(Debug)]
pub struct Group {
    version: Version,
    path: PathBuf,
    dir: OwnedFd,
}

impl Group {
    /// Opens the group whose directory is `path`.
    ///
    /// # Errors
    /// As `open(2)`; [`ControlError::is_gone`] where there is none.
    pub fn open(version: Version, path: impl Into<PathBuf>) -> Result<Self, ControlError> {
        let path = path.into();
        let dir = rustix::fs::open(&path, DIRECTORY, Mode::empty())
            .map_err(|errno| ControlError::new("open", &path, errno))?;
        Ok(Self { version, path, dir })
    }

    /// Which interface it has.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the group `name` in this one.
    ///
    /// # Errors
    /// As `mkdir(2)`: among others that there is one already, or that `cgroup.max.descendants` is reached (`EAGAIN`).
    pub fn make(&self, name: &OsStr) -> Result<Self, ControlError> {
        let path = self.path.join(name);
        let refused = |errno| ControlError::new("make", &path, errno);
        rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o755)).map_err(refused)?;
        let dir = rustix::fs::openat(&self.dir, name, DIRECTORY, Mode::empty()).map_err(refused)?;
        Ok(Self {
            version: self.version,
            path,
            dir,
        })
    }

    /// Removes it. One that is gone is no error.
    ///
    /// # Errors
    /// As `rmdir(2)`: `EBUSY` while anybody, or a group, is in it.
    pub fn remove(&self) -> Result<(), ControlError> {
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(ControlError::new("remove", &self.path, errno)),
        }
    }

    /// Whether it has this file: the kernel knows it, and its controller is enabled here.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        rustix::fs::statat(&self.dir, file, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What one of its files holds; `None` where there is no such file.
    ///
    /// # Errors
    /// As `read(2)`, and when the file has another shape.
    pub fn read<T: Format>(&self, file: &str) -> Result<Option<T>, ControlError> {
        let path = || self.path.join(file);
        let opened = match rustix::fs::openat(&self.dir, file, OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
            opened => opened.map_err(|errno| ControlError::new("open", path(), errno))?,
        };
        let mut text = Vec::new();
        match File::from(opened).read_to_end(&mut text) {
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                return Ok(None); // removed since
            }
            read => read.map_err(|error| ControlError::new("read", path(), error))?,
        };
        let odd = || ControlError::new("understand", path(), std::io::ErrorKind::InvalidData);
        T::parse(&text).map(Some).ok_or_else(odd)
    }

    /// Opens one of its files, to be written again and again.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn file(&self, name: &str) -> Result<ControlFile, ControlError> {
        ControlFile::open(&self.dir, &self.path, name)
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// As `open(2)` and `write(2)`.
    pub fn set(&self, file: &str, value: &(impl Setting + ?Sized)) -> Result<(), ControlError> {
        self.file(file)?.write(&value.text(self.version))
    }

    /// Moves a process, with all its threads, into this group. False when it has ended.
    ///
    /// # Errors
    /// As `write(2)`: `EBUSY` where controllers are handed down (v2: no processes beside groups), `EACCES` where the
    /// common group above is not ours.
    pub fn enter(&self, pid: u32) -> Result<bool, ControlError> {
        match self.set(PROCESSES, &u64::from(pid)) {
            Err(error) if error.errno() == Some(Errno::SRCH) => Ok(false),
            entered => entered.map(|()| true),
        }
    }

    /// The processes in it, without those in groups below; none when it is gone.
    ///
    /// # Errors
    /// As `read(2)`: `EOPNOTSUPP` for a threaded group.
    pub fn processes(&self) -> Result<Pids, ControlError> {
        Ok(self.read(PROCESSES)?.unwrap_or_default())
    }

    /// Whether nobody but these is in it, or below.
    ///
    /// # Errors
    /// As [`Group::processes`] and [`Group::children`].
    pub fn holds_only(&self, all: &BTreeSet<u32>) -> Result<bool, ControlError> {
        let own = self.processes()?;
        if own.outside > 0 || !own.seen.iter().all(|pid| all.contains(pid)) {
            return Ok(false);
        }
        for child in self.children()? {
            if !child.holds_only(all)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The groups in it, by name.
    ///
    /// # Errors
    /// As `getdents64(2)`.
    pub fn children(&self) -> Result<Vec<Self>, ControlError> {
        let refused = |errno| ControlError::new("list", &self.path, errno);
        let mut children = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() != rustix::fs::FileType::Directory || name == b"." || name == b".."
            {
                continue;
            }
            let path = self.path.join(OsStr::from_bytes(name));
            match rustix::fs::openat(&self.dir, name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {} // removed since
                dir => children.push(Self {
                    version: self.version,
                    dir: dir.map_err(|errno| ControlError::new("open", &path, errno))?,
                    path,
                }),
            }
        }
        Ok(children)
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Both interfaces call it so.
const PROCESSES: &str = "cgroup.procs";
