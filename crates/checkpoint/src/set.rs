//! A set of images in a directory: written aside, made durable, and renamed, so that it is complete or absent.
//!
//! What a writer that was killed left aside is removed by the next one in the same place. It knows by a lock (`flock(2)`), which
//! ends with its holder, that nobody writes there any more.

use crate::error::Error;
use crate::fault_point::fault_point;
use plimsoll_image::convert::{Form, convert};
use plimsoll_image::directory::{OnDisk, PARENT_LINK};
use plimsoll_image::packed::Codec;
use plimsoll_image::pages::SetPages;
use plimsoll_image::{Entry, Kind};
use prost::{Message, Name};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// What every message of an image can do.
pub(crate) trait Record: Message + Name + Default + PartialEq {}
impl<T: Message + Name + Default + PartialEq> Record for T {}

/// Images to be read.
#[derive(Debug)]
pub(crate) struct Reading {
    directory: PathBuf,
}

impl Reading {
    /// Its pages, wherever they are: packed, or in a set that it builds on.
    pub(crate) fn pages(&self) -> Result<SetPages, Error> {
        SetPages::open(Box::new(OnDisk::new(&self.directory))).map_err(|source| {
            Error::file(
                "read the pages in",
                &self.directory,
                std::io::Error::other(source),
            )
        })
    }

    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    pub(crate) fn path(&self, kind: Kind, id: impl Into<u64>) -> PathBuf {
        self.directory.join(kind.file_name(id.into()))
    }

    /// A raw file of pages: of the set so many parents up.
    pub(crate) fn open_pages(&self, level: u32, pages_id: u32) -> Result<File, Error> {
        let mut path = self.directory.clone();
        path.extend((0..level).map(|_| PARENT_LINK));
        path.push(Kind::Pages.file_name(pages_id.into()));
        File::open(&path).map_err(|source| Error::file("read", path, source))
    }

    pub(crate) fn open(&self, kind: Kind, id: impl Into<u64>) -> Result<File, Error> {
        let path = self.path(kind, id);
        File::open(&path).map_err(|source| Error::file("read", path, source))
    }

    /// All entries of an image; none where the file is absent, as it is for resources that a tree does not have.
    pub(crate) fn all<T: Record>(&self, kind: Kind, id: u64) -> Result<Vec<Entry<T>>, Error> {
        let path = self.path(kind, id);
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(Error::file("read", path, source)),
            Ok(file) => plimsoll_image::read_all(kind, BufReader::new(file))
                .map_err(|source| Error::image(path, source)),
        }
    }

    /// The only entry of an image that must be there.
    pub(crate) fn one<T: Record>(&self, kind: Kind, id: impl Into<u64>) -> Result<T, Error> {
        let path = self.path(kind, id);
        let file = File::open(&path).map_err(|source| Error::file("read", &path, source))?;
        let entry = plimsoll_image::read_one::<T>(kind, BufReader::new(file))
            .map_err(|source| Error::image(path, source))?;
        Ok(entry.message)
    }
}

/// A set on its way: what is not [finished](Writing::finish) is removed.
#[derive(Debug)]
pub(crate) struct Writing {
    aside: PathBuf,
    directory: PathBuf,
    place: Place,
    done: bool,
    /// Held as long as somebody writes.
    _lock: File,
}

/// Where the finished set goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A directory that does not exist: the set is written beside it and renamed.
    Fresh,
    /// A directory that exists and may hold other things, as CRIU's callers give it: its files are made durable aside and
    /// moved into it one by one, `inventory.img` last, without which no set counts as one.
    Within,
}

impl Writing {
    pub(crate) fn begin(directory: &Path, place: Place) -> Result<Self, Error> {
        let name = format!(".plimsoll-{}", std::process::id());
        let aside = match place {
            Place::Within => directory.join(&name),
            Place::Fresh => {
                if directory.symlink_metadata().is_ok() {
                    let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
                    return Err(Error::file("make", directory, exists));
                }
                let last = directory.file_name().unwrap_or_default().to_string_lossy();
                directory.with_file_name(format!(".{last}{name}"))
            }
        };
        let beside = aside.parent().unwrap_or(Path::new("/"));
        remove_abandoned(beside).map_err(|source| Error::file("clear", beside, source))?;
        let made = fs::DirBuilder::new().mode(0o700).create(&aside);
        made.map_err(|source| Error::file("make", &aside, source))?;
        let lock = File::open(&aside).map_err(|source| Error::file("open", &aside, source))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::file("lock", &aside, errno))?;
        fault_point("begun");
        Ok(Self {
            aside,
            directory: directory.to_owned(),
            place,
            done: false,
            _lock: lock,
        })
    }

    /// A new file of the set.
    pub(crate) fn create(&self, name: &str) -> Result<File, Error> {
        let path = self.aside.join(name);
        OpenOptions::new()
            .write(true)
            .read(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::file("make", path, source))
    }

    /// A file of the set, to be changed.
    pub(crate) fn reopen(&self, name: &str) -> Result<File, Error> {
        let path = self.aside.join(name);
        let file = OpenOptions::new().write(true).open(&path);
        file.map_err(|source| Error::file("open", path, source))
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create(name)?;
        std::io::Write::write_all(&mut file, bytes)
            .map_err(|source| Error::file("write", self.aside.join(name), source))
    }

    pub(crate) fn all<'a, T: Record + 'a>(
        &self,
        kind: Kind,
        id: u64,
        entries: impl IntoIterator<Item = &'a Entry<T>>,
    ) -> Result<(), Error> {
        let name = kind.file_name(id);
        let bytes = plimsoll_image::write_all(kind, entries)
            .map_err(|source| Error::image(self.aside.join(&name), source))?;
        self.put(&name, &bytes)
    }

    pub(crate) fn messages<T: Record>(
        &self,
        kind: Kind,
        id: u64,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let entries: Vec<_> = messages.into_iter().map(Entry::from).collect();
        self.all(kind, id, &entries)
    }

    /// Builds on another set: what is not in this one is there.
    pub(crate) fn link_parent(&self, parent: &Path) -> Result<(), Error> {
        let link = self.aside.join(PARENT_LINK);
        symlink(parent, &link).map_err(|source| Error::file("make", link, source))
    }

    /// Makes room for a set inside of this one, that it builds on, at `parent`, or inside of that one, at `parent/parent`: its
    /// files are [created](Self::create) below.
    pub(crate) fn begin_inner(&self, place: &str) -> Result<(), Error> {
        let inner = self.aside.join(place);
        let made = fs::DirBuilder::new().mode(0o700).create(&inner);
        made.map_err(|source| Error::file("make", inner, source))
    }

    /// Gives up the set inside of this one.
    pub(crate) fn remove_inner(&self) -> Result<(), Error> {
        let inner = self.aside.join(PARENT_LINK);
        fs::remove_dir_all(&inner).map_err(|source| Error::file("remove", inner, source))
    }

    /// Packs the pages: zero pages dropped, equal ones kept once, compressed, with checksums.
    pub(crate) fn pack(&self) -> Result<(), Error> {
        let packed = self.aside.join("packed");
        convert(&self.aside, &packed, Form::Packed(Codec::Lz4), None).map_err(|source| {
            Error::file("pack", &self.directory, std::io::Error::other(source))
        })?;
        let failed = |source| Error::file("replace", &self.aside, source);
        for name in self.names()?.into_iter().filter(|name| name != "packed") {
            fs::remove_file(self.aside.join(name)).map_err(failed)?;
        }
        for entry in fs::read_dir(&packed).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            fs::rename(packed.join(&name), self.aside.join(&name)).map_err(failed)?;
        }
        fs::remove_dir(&packed).map_err(failed)
    }

    /// Makes every file durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        sync_files(&self.aside)
    }

    /// The set appears under its name.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        fault_point("before-rename");
        match self.place {
            Place::Fresh => {
                fs::rename(&self.aside, &self.directory)
                    .map_err(|source| Error::file("make", &self.directory, source))?;
                let parent = self
                    .directory
                    .parent()
                    .filter(|p| !p.as_os_str().is_empty());
                sync_directory(parent.unwrap_or(Path::new(".")))?;
            }
            Place::Within => {
                let mut names = self.names()?;
                names.sort_by_key(|name| name == "inventory.img");
                for name in names {
                    let (from, to) = (self.aside.join(&name), self.directory.join(&name));
                    if name == PARENT_LINK {
                        clear(&to).map_err(|source| Error::file("replace", &to, source))?;
                    }
                    fs::rename(from, &to).map_err(|source| Error::file("make", to, source))?;
                }
                sync_directory(&self.directory)?;
                let _ = fs::remove_dir(&self.aside);
            }
        }
        self.done = true;
        Ok(())
    }

    fn names(&self) -> Result<Vec<std::ffi::OsString>, Error> {
        names(&self.aside)
    }
}

fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let failed = |source| Error::file("list", directory, source);
    fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| Ok(entry.map_err(failed)?.file_name()))
        .collect()
}

/// Removes what an earlier set built on: a link, or a set inside of it.
fn clear(parent: &Path) -> std::io::Result<()> {
    match parent.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(it) if it.is_dir() => fs::remove_dir_all(parent),
        Ok(_) => fs::remove_file(parent),
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.aside);
        }
    }
}

/// Removes what writers that are no more left in a directory.
fn remove_abandoned(beside: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(if beside == Path::new("") {
        Path::new(".")
    } else {
        beside
    })? {
        let entry = entry?;
        if !is_aside(&entry.file_name().to_string_lossy()) || !entry.file_type()?.is_dir() {
            continue;
        }
        // Somebody else's, or gone meanwhile: none of our business.
        let Ok(directory) = File::open(entry.path()) else {
            continue;
        };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Whether a name is one that sets are written aside under: `.SET.plimsoll-PID`, or `.plimsoll-PID`.
fn is_aside(name: &str) -> bool {
    let pid = name.rsplit_once(".plimsoll-").map(|(_, pid)| pid);
    name.starts_with('.')
        && pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes the files of a set durable, and those of the sets inside of it.
fn sync_files(directory: &Path) -> Result<(), Error> {
    let inner = directory.join(PARENT_LINK);
    if inner.symlink_metadata().is_ok_and(|it| it.is_dir()) {
        sync_files(&inner)?;
    }
    let names = names(directory)?.into_iter();
    for name in names.filter(|name| name != PARENT_LINK) {
        let path = directory.join(&name);
        let synced = File::open(&path).and_then(|file| file.sync_data());
        synced.map_err(|source| Error::file("make durable", path, source))?;
    }
    sync_directory(directory)
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Error::file("make durable", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_image::proto::PstreeEntry;

    #[test]
    fn a_set_is_there_when_it_is_finished_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        for (place, target) in [
            (Place::Fresh, dir.path().join("set")),
            (Place::Within, dir.path().join("within")),
        ] {
            if place == Place::Within {
                fs::create_dir(&target).unwrap();
            }
            let set = Writing::begin(&target, place).unwrap();
            let node = PstreeEntry {
                pid: 7,
                ..PstreeEntry::default()
            };
            set.messages(Kind::Pstree, 0, [node.clone()]).unwrap();
            assert!(!target.join("pstree.img").exists());
            set.sync().unwrap();
            set.finish().unwrap();
            let back = Reading::new(&target)
                .all::<PstreeEntry>(Kind::Pstree, 0)
                .unwrap();
            assert_eq!(back[0].message, node);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_the_killed_left_is_removed_and_what_others_write_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let set = Writing::begin(&dir.path().join("set"), Place::Fresh).unwrap();
        let left = dir.path().join(".other.plimsoll-77");
        let kept = dir.path().join(".other.plimsoll-new");
        for path in [&left, &kept] {
            fs::create_dir(path).unwrap();
        }
        let aside = set.aside.clone();
        remove_abandoned(dir.path()).unwrap();
        assert_eq!(
            [&left, &kept, &aside].map(|path| path.exists()),
            [false, true, true]
        );
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let set = Writing::begin(&dir.path().join("set"), Place::Fresh).unwrap();
        set.put("x", b"y").unwrap();
        drop(set);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Writing::begin(dir.path(), Place::Fresh).is_err());
    }
}
