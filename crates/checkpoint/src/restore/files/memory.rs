//! Memory files: memfds, and shared anonymous mappings, which are made by mapping and opened through `/proc`.

use super::super::memory::Pages;
use super::{Files, itself, settle};
use crate::error::Error;
use plimsoll_image::proto::{FileEntry, MemfdInodeEntry};
use plimsoll_sys::region::Region;
use plimsoll_units::PageSize;
use rustix::fd::{AsFd, OwnedFd};
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
/// One of huge pages.
const SHARED_HUGE: &[u8] = b"/anon_hugepage";

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
    let huge = MemfdFlags::from_bits_retain(inode.hugetlb_flag.unwrap_or(0));
    let (file, mapped) = if [SHARED_ANONYMOUS, SHARED_HUGE].contains(&inode.name.as_slice()) {
        shared_anonymous(inode.size, huge, files.page_size).map_err(failed)?
    } else {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC | huge;
        let file = File::from(memfd_create(inode.name.as_slice(), flags).map_err(failed)?);
        file.set_len(inode.size)
            .map_err(|error| Error::file("make", format!("memfd {name}"), error))?;
        (file, None)
    };
    let pages = Pages::of_object(files.set, inode.shmid, files.page_size)?;
    let mut filled = Filling::begin(&file, inode).map_err(failed)?;
    pages.for_each(|at, bytes| {
        let length = inode.size.saturating_sub(at).min(bytes.len() as u64);
        let length = usize::try_from(length).unwrap_or(0);
        let bytes = bytes.get(..length).unwrap_or_default();
        filled
            .write(at, bytes)
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

/// How bytes get into an object: huge pages can only be written through a mapping.
enum Filling<'f> {
    File(&'f File),
    Mapping(Region),
}

impl<'f> Filling<'f> {
    fn begin(file: &'f File, inode: &MemfdInodeEntry) -> Result<Self, Errno> {
        if inode.hugetlb_flag.is_none() || inode.size == 0 {
            return Ok(Self::File(file));
        }
        let length = usize::try_from(inode.size).map_err(|_| Errno::NOMEM)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let region = Region::map(length, protection, MapFlags::SHARED, Some(file.as_fd()))?;
        Ok(Self::Mapping(region))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(bytes, at),
            Self::Mapping(region) => {
                let at = usize::try_from(at).map_err(|_| Errno::NOMEM)?;
                Ok(region.write(at, bytes)?)
            }
        }
    }
}

/// A mapping of our own, and the file behind it.
fn shared_anonymous(
    size: u64,
    huge: MemfdFlags,
    page_size: PageSize,
) -> Result<(File, Option<Region>), Errno> {
    // MAP_HUGETLB, with the size of its pages where memfd_create has it.
    let page = if huge.is_empty() {
        page_size.get()
    } else {
        1 << (huge.bits() >> 26)
    };
    let huge = if huge.is_empty() {
        MapFlags::empty()
    } else {
        MapFlags::HUGETLB | MapFlags::from_bits_retain(huge.bits() & !0 << 26)
    };
    let length = size.max(1).next_multiple_of(page);
    let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
    let region = Region::map(
        length,
        ProtFlags::READ | ProtFlags::WRITE,
        MapFlags::SHARED | huge,
        None,
    )?;
    let range = region.range();
    let path = format!("/proc/self/map_files/{:x}-{:x}", range.start, range.end);
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(errno)?;
    if size != length as u64 {
        file.set_len(size).map_err(errno)?;
    }
    Ok((file, Some(region)))
}
