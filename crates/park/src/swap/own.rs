//! Swap files of our own, for as long as anything is parked by swap: made where the host has too little, switched on
//! after all other swap, removed when nothing is parked in them any more.
//!
//! The kernel puts pages of anybody into a swap area, and pages of a tree into any area. So a file is not a tree's: all of them
//! go when the last tree that is parked by swap is back. Each is written down beside the records, before it is made; any
//! command that looks through the records finds what a killed one left.

use crate::ParkError;
use crate::fault_point::fault_point;
use crate::runtime::{Means, Runtime};
use crate::store::{Place, StoreError};
use crate::swap::header;
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::swaps;
use plimsoll_units::{Bytes, PageSize};
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// Why there is no swap file.
#[derive(Debug, thiserror::Error)]
pub enum OwnSwapError {
    /// The file system can't hold one.
    #[error("{} lies on {filesystem}, which can't hold a swap file: {why}", dir.display())]
    FileSystem {
        /// Where it would lie.
        dir: PathBuf,
        /// The file system.
        filesystem: &'static str,
        /// What it lacks.
        why: &'static str,
    },
    /// A call failed.
    #[error("cannot {operation} the swap file {}", path.display())]
    Call {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// What is in it does not fit in memory.
    #[error("{used} in the swap file {} do not fit in the {available} of memory that are free", path.display())]
    NoMemory {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        used: Bytes,
        /// What is free.
        available: Bytes,
    },
}

/// File systems that can't hold a swap file, by `statfs(2)`, and why. What is not here is tried.
const UNFIT: [(i64, &str, &str); 8] = [
    (0x0102_1994, "tmpfs", "its files are memory"),
    (0x8584_58f6, "ramfs", "its files are memory"),
    (
        0x794c_7630,
        "overlayfs",
        "its files have no place on a disk of their own",
    ),
    (
        0x9123_683e,
        "btrfs",
        "it copies on write; make one there by `btrfs filesystem mkswapfile`",
    ),
    (0x2fc1_2fc1, "zfs", "it copies on write"),
    (0x6969, "nfs", "it lies on another host"),
    (0x6573_5546, "fuse", "it needs a program to write"),
    (0x0102_1997, "9p", "it lies on another host"),
];

/// A page for the header, and some that the kernel may find unusable.
const SPARE: Bytes = Bytes::from_mib(4);

/// Whether a directory could hold a swap file of `needed` bytes; gives the one that would.
pub(crate) fn look(place: &Place, needed: Bytes) -> Result<PathBuf, ParkError> {
    let room = place.look((needed + SPARE).get())?;
    let there = room.root.ancestors().find(|dir| dir.exists());
    fit(there.unwrap_or(&room.root))?;
    Ok(room.root)
}

fn fit(dir: &Path) -> Result<(), ParkError> {
    let statfs = rustix::fs::statfs(dir).map_err(StoreError::io("stat", dir))?;
    match UNFIT.iter().find(|(magic, ..)| *magic == statfs.f_type) {
        None => Ok(()),
        Some((_, filesystem, why)) => Err(OwnSwapError::FileSystem {
            dir: dir.to_owned(),
            filesystem,
            why,
        }
        .into()),
    }
}

/// A swap file that was just made. As long as this lives, none is removed: its tree has no record yet.
#[derive(Debug)]
pub(crate) struct Made {
    _lock: File,
}

/// Makes a file that takes `needed` bytes, and swaps to it.
pub(crate) fn make(
    runtime: &Runtime,
    place: &Place,
    needed: Bytes,
    page_size: PageSize,
) -> Result<Made, ParkError> {
    let notes = Notes::of(runtime);
    notes.make()?;
    let lock = notes.lock(FlockOperation::LockExclusive)?;
    let length = needed + SPARE;
    let root = place.choose(length.get())?.root;
    fit(&root)?;
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(StoreError::io("read", Path::new("/dev/urandom")))?;
    let path = root.join(format!("{:032x}.swap", u128::from_ne_bytes(id)));
    let note = notes.write(&path)?;
    fault_point("swap-noted");
    let made = fill(&path, length, page_size, id)
        .and_then(|()| plimsoll_sys::swap::on(&path).map_err(call("switch on", &path)));
    if let Err(error) = made {
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(note);
        return Err(error);
    }
    fault_point("swap-on");
    Ok(Made { _lock: lock })
}

/// Removes all of them, unless a tree is parked by swap, or about to be.
pub(crate) fn tidy(root: &Root, runtime: &Runtime) -> Result<(), ParkError> {
    let notes = Notes::of(runtime);
    if notes.all()?.is_empty() {
        return Ok(());
    }
    let Ok(_lock) = notes.lock(FlockOperation::NonBlockingLockExclusive) else {
        return Ok(());
    };
    for record in runtime.records()? {
        if record?.means == Means::Swap {
            return Ok(());
        }
    }
    for (note, path) in notes.all()? {
        remove(root, &path)?;
        let _ = std::fs::remove_file(note);
    }
    Ok(())
}

/// Where they are written down: a file for each, with its path.
struct Notes {
    dir: PathBuf,
}

impl Notes {
    fn of(runtime: &Runtime) -> Self {
        let dir = runtime.beside("swap");
        Self { dir }
    }

    fn make(&self) -> Result<(), ParkError> {
        let made = std::fs::DirBuilder::new().mode(0o700).create(&self.dir);
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(StoreError::io("make", &self.dir)(error).into())
            }
            _ => Ok(()),
        }
    }

    fn lock(&self, how: FlockOperation) -> Result<File, ParkError> {
        let path = self.dir.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(StoreError::io("open", &path))?;
        rustix::fs::flock(&file, how).map_err(StoreError::io("lock", &path))?;
        Ok(File::from(file))
    }

    fn write(&self, path: &Path) -> Result<PathBuf, ParkError> {
        let note = self.dir.join(path.file_name().unwrap_or_default());
        let text = path.as_os_str().as_bytes();
        std::fs::write(&note, text).map_err(StoreError::io("write", &note))?;
        Ok(note)
    }

    /// Each note, and the file it is of.
    fn all(&self) -> Result<Vec<(PathBuf, PathBuf)>, ParkError> {
        let failed = || StoreError::io("list", &self.dir);
        let mut files = Vec::new();
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
            entries => entries.map_err(failed())?,
        };
        for entry in entries {
            let note = entry.map_err(failed())?.path();
            if note
                .extension()
                .is_some_and(|extension| extension == "swap")
            {
                let path = std::fs::read(&note).map_err(StoreError::io("read", &note))?;
                files.push((note, PathBuf::from(OsString::from_vec(path))));
            }
        }
        Ok(files)
    }
}

fn fill(path: &Path, length: Bytes, page_size: PageSize, uuid: [u8; 16]) -> Result<(), ParkError> {
    let pages = length.get() / page_size.get();
    let header = header::page(pages, page_size, uuid);
    let header = header.ok_or(Errno::FBIG).map_err(call("make", path))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map(File::from).map_err(call("make", path))?;
    let whole = pages.saturating_mul(page_size.get());
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, whole)
        .map_err(call("reserve room for", path))?;
    let written = file.write_all_at(&header, 0).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        call("write", path)(errno)
    })
}

/// Switches one off, if it is on, and removes it.
fn remove(root: &Root, path: &Path) -> Result<(), ParkError> {
    let text = root.read("proc/swaps")?;
    let is_it = |area: &swaps::Area<'_>| area.path == path.as_os_str().as_bytes();
    if let Some(area) = swaps::parse(&text).find(is_it) {
        let meminfo = Meminfo::parse(&root.read("proc/meminfo")?);
        let available = meminfo.mem_available.unwrap_or_default();
        if area.used > available {
            return Err(OwnSwapError::NoMemory {
                path: path.to_owned(),
                used: area.used,
                available,
            }
            .into());
        }
        plimsoll_sys::swap::off(path).map_err(call("switch off", path))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error).into())
        }
        _ => Ok(()),
    }
}

fn call(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> ParkError {
    let path = path.to_owned();
    move |source| {
        OwnSwapError::Call {
            operation,
            path,
            source,
        }
        .into()
    }
}

/// What a file of our own would have to take, on top of what the host has; `None` where the tree's own limit is in the way.
pub(crate) fn wanted(needed: Bytes, budget: &super::Budget) -> Option<Bytes> {
    let unlimited = budget.group.is_none_or(|most| most >= needed);
    unlimited.then(|| needed - (budget.disk + budget.zram))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_copies_on_write_hold_no_swap_file() {
        let refused = fit(Path::new("/dev/shm")).unwrap_err();
        assert!(
            refused.to_string().contains("its files are memory"),
            "{refused}"
        );
    }
}
