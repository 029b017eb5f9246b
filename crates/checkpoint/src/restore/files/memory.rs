//! Memory files: memfds, and shared anonymous mappings, which are made by mapping and opened through `/proc`.

use super::super::memory::Pages;
use super::{Files, itself, settle};
use crate::error::Error;
use plimsoll_image::proto::{FileEntry, MemfdInodeEntry};
use plimsoll_sys::region::Region;
use rustix::fd::OwnedFd;
use rustix::fs::{
    Gid, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, Uid, fchmod, fchown, fcntl_add_seals,
    memfd_create, open, seek,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What CRIU calls the memfd behind a shared anonymous mapping.
const SHARED_ANONYMOUS: &[u8] = b"/dev/zero";

/// An object, filled.
#[derive(Debug)]
pub(super) struct Object {
    file: File,
    /// Somebody has the file as it was made. One that is opened anew for writing can't be executed.
    given: bool,
    seals: SealFlags,
    /// Our own mapping of a shared anonymous object, which there is no other way to.
    _mapped: Option<Region>,
}

impl Object {
    /// Forbids what was forbidden; shrinking, growing and writing until now were ours.
    pub(super) fn seal(&self) -> Result<(), Error> {
        if self.seals.is_empty() {
            return Ok(());
        }
        let failed = |errno: Errno| Error::file("seal", "a memfd", errno);
        fcntl_add_seals(&self.file, self.seals).map_err(failed)
    }
}

/// A descriptor of an object, or its mapping's file.
pub(super) fn file(
    files: &mut Files<'_>,
    entry: &FileEntry,
    flags: Option<u32>,
) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no memfd", entry.id));
    let memfd = entry.memfd.as_ref().ok_or_else(inconsistent)?;
    if !files.memory.contains_key(&memfd.inode_id) {
        let inode = files
            .snapshot
            .memfds
            .iter()
            .find(|inode| inode.inode_id == u64::from(memfd.inode_id));
        let object = make(files, inode.ok_or_else(inconsistent)?)?;
        files.memory.insert(memfd.inode_id, object);
    }
    let object = files
        .memory
        .get_mut(&memfd.inode_id)
        .ok_or_else(inconsistent)?;
    let as_made = flags.is_none() && !object.given;
    let flags = flags.unwrap_or(memfd.flags);
    let failed = |errno: Errno| Error::file("open", "a memfd", errno);
    let mode = OFlags::from_bits_retain(flags) & OFlags::RWMODE;
    let file = if as_made && mode == OFlags::RDWR {
        object.given = true;
        let file = object.file.try_clone();
        file.map_err(|error| Error::file("duplicate", "a memfd", error))?
            .into()
    } else {
        open(itself(&object.file), mode | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?
    };
    if memfd.pos != 0 {
        seek(&file, SeekFrom::Start(memfd.pos)).map_err(failed)?;
    }
    settle(&file, flags, &memfd.fown)?;
    Ok(file)
}

fn make(files: &Files<'_>, inode: &MemfdInodeEntry) -> Result<Object, Error> {
    let name = String::from_utf8_lossy(&inode.name).into_owned();
    let failed = |errno: Errno| Error::file("make", format!("memfd {name}"), errno);
    let (file, mapped) = if inode.name == SHARED_ANONYMOUS {
        shared_anonymous(inode.size).map_err(failed)?
    } else {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let file = File::from(memfd_create(inode.name.as_slice(), flags).map_err(failed)?);
        file.set_len(inode.size)
            .map_err(|error| Error::file("make", format!("memfd {name}"), error))?;
        (file, None)
    };
    let pages = Pages::of_object(files.set, inode.shmid, files.page_size)?;
    pages.for_each(|at, bytes| {
        let length = inode.size.saturating_sub(at).min(bytes.len() as u64);
        let bytes = bytes
            .get(..usize::try_from(length).unwrap_or(0))
            .unwrap_or_default();
        file.write_all_at(bytes, at)
            .map_err(|error| Error::file("fill", format!("memfd {name}"), error))
    })?;
    if mapped.is_none() {
        fchown(
            &file,
            Some(Uid::from_raw(inode.uid)),
            Some(Gid::from_raw(inode.gid)),
        )
        .map_err(failed)?;
        if let Some(mode) = inode.mode {
            fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).map_err(failed)?;
        }
    }
    Ok(Object {
        given: false,
        seals: if mapped.is_some() {
            SealFlags::empty()
        } else {
            SealFlags::from_bits_retain(inode.seals)
        },
        file,
        _mapped: mapped,
    })
}

/// A mapping of our own, and the file behind it.
fn shared_anonymous(size: u64) -> Result<(File, Option<Region>), Errno> {
    let length = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
    let region = Region::map(
        length,
        ProtFlags::READ | ProtFlags::WRITE,
        MapFlags::SHARED,
        None,
    )?;
    let range = region.range();
    let path = format!("/proc/self/map_files/{:x}-{:x}", range.start, range.end);
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok((file, Some(region)))
}
