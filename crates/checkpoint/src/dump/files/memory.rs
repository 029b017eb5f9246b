//! Memory files: memfds and shared anonymous mappings, which are the same to the kernel, and to CRIU's images: a memfd of
//! the name `/dev/zero`.

use super::{Files, Open, entry};
use crate::error::Error;
use plimsoll_image::proto::{FdTypes, FileEntry, FownEntry, MemfdFileEntry, MemfdInodeEntry};
use rustix::fs::{MemfdFlags, SealFlags, Stat, fcntl_get_seals, fstatfs};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

/// An object, with the file that its contents are read from.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) entry: MemfdInodeEntry,
    pub(super) file: File,
}

/// A descriptor of one.
pub(super) fn file(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let link = format!("/proc/{}/fd/{}", open.pid, open.fd);
    let inode_id = object(files, &link, open.link, &open.stat)?;
    Ok(FileEntry {
        memfd: Some(MemfdFileEntry {
            id,
            flags: open.flags(),
            pos: open.info.pos.unsigned_abs(),
            fown: open.owner()?,
            inode_id,
        }),
        ..entry(FdTypes::Memfd, id)
    })
}

/// The file behind a mapping.
pub(super) fn mapped(files: &mut Files, link: &str, flags: u32) -> Result<u32, Error> {
    let failed = |source| Error::file("look at", link, source);
    let target = std::fs::read_link(link).map_err(failed)?;
    let stat = rustix::fs::stat(link).map_err(|errno| failed(errno.into()))?;
    let name = target.as_os_str().as_bytes();
    let key = (stat.st_dev, stat.st_ino, flags, name.to_vec());
    if let Some(id) = files.mapped.get(&key) {
        return Ok(*id);
    }
    let inode_id = object(files, link, name, &stat)?;
    let id = files.new_id();
    let entry = FileEntry {
        memfd: Some(MemfdFileEntry {
            id,
            flags,
            pos: 0,
            fown: FownEntry::default(),
            inode_id,
        }),
        ..entry(FdTypes::Memfd, id)
    };
    files.entries.insert(id, entry);
    files.mapped.insert(key, id);
    Ok(id)
}

/// The number of an object, which is looked at when it is new.
fn object(files: &mut Files, link: &str, name: &[u8], stat: &Stat) -> Result<u32, Error> {
    let key = (stat.st_dev, stat.st_ino);
    if let Some(object) = files.memory.get(&key) {
        return Ok(small(object.entry.inode_id));
    }
    let failed = |source| Error::file("open", link, source);
    let file = File::open(link).map_err(failed)?;
    let seals = match fcntl_get_seals(&file) {
        Err(Errno::INVAL) => SealFlags::empty(),
        seals => seals.map_err(|errno| failed(errno.into()))?,
    };
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let inode_id = files.memory.len() as u64 + 1;
    let entry = MemfdInodeEntry {
        name: name.strip_prefix(b"/memfd:").unwrap_or(name).to_vec(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.unsigned_abs(),
        shmid: small(stat.st_ino),
        seals: seals.bits(),
        inode_id,
        hugetlb_flag: huge_pages(&file).map_err(|errno| failed(errno.into()))?,
        mode: Some(stat.st_mode),
    };
    files.memory.insert(key, Object { entry, file });
    Ok(small(inode_id))
}

/// Which huge pages an object is made of, as `memfd_create(2)` is told.
fn huge_pages(file: &File) -> Result<Option<u32>, Errno> {
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let system = fstatfs(file)?;
    if u64::try_from(system.f_type) != Ok(HUGETLBFS_MAGIC) {
        return Ok(None);
    }
    let size = u64::try_from(system.f_bsize).map_err(|_| Errno::RANGE)?;
    Ok(Some(
        MemfdFlags::HUGETLB.bits() | size.trailing_zeros() << 26,
    ))
}

fn small(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}
