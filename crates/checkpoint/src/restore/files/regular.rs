//! Files with a path, opened as they were; unlinked ones made again and unlinked.

use super::stand_in::StandIn;
use super::{Files, itself, own};
use crate::error::Error;
use plimsoll_image::proto::{RegFileEntry, RemapType};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, chmod, chown,
    chownat, fchmod, fchown, futimens, linkat, mkdir, mknodat, open, rmdir, seek, symlinkat,
    unlink,
};
use rustix::io::Errno;
use rustix::process::Pid;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Opens a file; `flags` instead of those it was opened with.
pub(super) fn open_as(
    files: &mut Files<'_>,
    id: u32,
    flags: Option<u32>,
) -> Result<OwnedFd, Error> {
    let reg = files.entry(id)?.reg.as_ref();
    let reg = reg.ok_or_else(|| Error::inconsistent(format!("file {id} has no path")))?;
    let path = PathBuf::from(OsStr::from_bytes(&reg.name));
    let flags = OFlags::from_bits_retain(flags.unwrap_or(reg.flags));
    let mut not_kept = OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC;
    if flags.contains(OFlags::TMPFILE) {
        not_kept |= OFlags::TMPFILE; // O_DIRECTORY is among its bits
    }
    let flags = flags.difference(not_kept) | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = by_way_of(files, id, reg, &path, flags)?;
    if flags.contains(OFlags::PATH) {
        return Ok(file);
    }
    let failed = |errno: Errno| Error::file("go to the position in", &path, errno);
    if reg.pos != 0 {
        seek(&file, SeekFrom::Start(reg.pos)).map_err(failed)?;
    }
    own(&file, &reg.fown)?;
    Ok(file)
}

/// By its path, or by whatever stands for it.
pub(super) fn by_way_of(
    files: &mut Files<'_>,
    id: u32,
    reg: &RegFileEntry,
    path: &Path,
    flags: OFlags,
) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::file("open", path, errno);
    let remap = files
        .snapshot
        .remaps
        .iter()
        .find(|remap| remap.orig_id == id);
    match remap.map(|remap| (remap.remap_type(), remap.remap_id)) {
        None => {
            let file = open(path, flags, Mode::empty()).map_err(failed)?;
            validate(&file, reg, path)?;
            Ok(file)
        }
        Some((RemapType::Ghost, ghost)) => {
            let file = ghost_file(files, ghost, path)?;
            if flags.contains(OFlags::PATH | OFlags::NOFOLLOW) {
                // A symbolic link: by /proc it would be followed.
                let same = rustix::io::fcntl_dupfd_cloexec(file, 0);
                return same.map_err(failed);
            }
            // The way by /proc is a link.
            let flags = flags.difference(OFlags::NOFOLLOW);
            open(itself(file), flags, Mode::empty()).map_err(failed)
        }
        Some((RemapType::Linked, other)) => {
            let other = files.entry(other)?.reg.as_ref().map(|reg| reg.name.clone());
            let other = PathBuf::from(OsStr::from_bytes(&other.unwrap_or_default()));
            linkat(CWD, &other, CWD, path, AtFlags::empty()).map_err(failed)?;
            let file = open(path, flags, Mode::empty());
            let _ = unlink(path);
            files.spare_names.insert(other);
            file.map_err(failed)
        }
        Some((RemapType::Procfs, pid)) => {
            if let Entry::Vacant(free) = files.ended_in_proc.entry(pid) {
                let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let raw = raw.ok_or_else(|| failed(Errno::SRCH))?;
                let there = StandIn::with(raw).map_err(failed)?;
                free.insert(there);
            }
            open(path, flags, Mode::empty()).map_err(failed)
        }
    }
}

/// A file that has shrunk or grown since is another one.
fn validate(file: &OwnedFd, reg: &RegFileEntry, path: &Path) -> Result<(), Error> {
    let stat = rustix::fs::fstat(file).map_err(|errno| Error::file("look at", path, errno))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let same_size = reg
        .size
        .is_none_or(|size| !regular || size == stat.st_size.unsigned_abs());
    let same_kind = reg
        .mode
        .is_none_or(|mode| FileType::from_raw_mode(mode) == FileType::from_raw_mode(stat.st_mode));
    if same_size && same_kind {
        return Ok(());
    }
    let what = format!(
        "{} is no longer the file that was open: its size was {:?}",
        path.display(),
        reg.size
    );
    Err(Error::inconsistent(what))
}

/// An unlinked file, made once: under its old name for a moment, so that `/proc` shows that again.
fn ghost_file<'f>(files: &'f mut Files<'_>, id: u32, path: &Path) -> Result<&'f OwnedFd, Error> {
    if !files.ghosts.contains_key(&id) {
        let file = make_ghost(files, id, path)?;
        files.ghosts.insert(id, file);
    }
    let missing = || Error::inconsistent(format!("unlinked file {id} is not there"));
    files.ghosts.get(&id).ok_or_else(missing)
}

fn make_ghost(files: &Files<'_>, id: u32, path: &Path) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::file("make the unlinked", path, errno);
    let missing = || Error::inconsistent(format!("unlinked file {id} is not there"));
    let ghost = files.snapshot.ghosts.get(&id).ok_or_else(missing)?;
    let entry = &ghost.entry;
    let mode = Mode::from_raw_mode(entry.mode & 0o7777);
    let kind = FileType::from_raw_mode(entry.mode);
    let at = spare_path(path);
    let _parents = Parents::of(&at).map_err(failed)?;
    match kind {
        FileType::RegularFile => {
            // Without its name again at once, whatever becomes of us.
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = open(&at, flags, mode).map_err(failed)?;
            unlink(&at).map_err(failed)?;
            return fill(File::from(file), ghost, mode).map_err(failed);
        }
        FileType::Directory => mkdir(&at, mode).map_err(failed)?,
        FileType::Symlink => {
            let target = entry.symlnk_target.as_deref().unwrap_or_default();
            symlinkat(target, CWD, &at).map_err(failed)?;
        }
        _ => {
            let device = entry.rdev.map_or(0, device);
            mknodat(CWD, &at, kind, mode, device).map_err(failed)?;
        }
    }
    let made = furnish(&at, ghost, mode);
    let gone = if kind == FileType::Directory {
        rmdir(&at)
    } else {
        unlink(&at)
    };
    let file = made.map_err(failed)?;
    gone.map_err(failed)?;
    Ok(file)
}

/// Owner and mode.
fn furnish(at: &Path, ghost: &crate::snapshot::Ghost, mode: Mode) -> Result<OwnedFd, Errno> {
    let entry = &ghost.entry;
    if FileType::from_raw_mode(entry.mode) == FileType::Symlink {
        let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        chownat(CWD, at, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        return open(at, flags, Mode::empty());
    }
    chown(
        at,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )?;
    chmod(at, mode)?; // chown takes set-id bits away
    open(at, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Owner, mode, content and times of a regular file.
fn fill(file: File, ghost: &crate::snapshot::Ghost, mode: Mode) -> Result<OwnedFd, Errno> {
    let entry = &ghost.entry;
    let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(&file, Some(user), Some(group))?;
    fchmod(&file, mode)?; // fchown takes set-id bits away
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    file.set_len(entry.size.unwrap_or(0)).map_err(errno)?;
    for (offset, bytes) in &ghost.chunks {
        file.write_all_at(bytes, *offset).map_err(errno)?;
    }
    if let (Some(atim), Some(mtim)) = (&entry.atim, &entry.mtim) {
        let time = |time: &plimsoll_image::proto::Timeval| Timespec {
            tv_sec: time.tv_sec.cast_signed(),
            tv_nsec: time.tv_usec.saturating_mul(1000).cast_signed(),
        };
        let times = Timestamps {
            last_access: time(atim),
            last_modification: time(mtim),
        };
        futimens(&file, &times)?;
    }
    Ok(file.into())
}

/// Directories that are gone like the file in them, there for a moment to make it.
struct Parents(Vec<PathBuf>);

impl Parents {
    fn of(path: &Path) -> Result<Self, Errno> {
        let is_missing = |dir: &&Path| dir.symlink_metadata().is_err();
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(is_missing).collect();
        let mut made = Self(Vec::new());
        for dir in missing.into_iter().rev() {
            mkdir(dir, Mode::RWXU)?;
            made.0.push(dir.to_owned());
        }
        Ok(made)
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            let _ = rmdir(dir); // somebody else may use it by now
        }
    }
}

/// The path itself, or one beside it that is free.
fn spare_path(path: &Path) -> PathBuf {
    let mut at = path.to_owned();
    let mut count = 0u32;
    while at.symlink_metadata().is_ok() {
        count += 1;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        at = path.with_file_name(format!("{name}.{count}.ghost"));
    }
    at
}

/// From the kernel's encoding of device numbers.
fn device(number: u32) -> u64 {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}
