//! Files with a path: regular ones, directories, devices, FIFOs.
//!
//! A path is kept, not the content. Where the path no longer leads to the file there are two ways: an unlinked file that no
//! name is left of is taken along whole (a *ghost*), in chunks without its holes; one that has another name is given a
//! name beside its old one, if the caller allows that (`--link-remap`).

use super::{Files, Open, entry, pipe, tty, unknown};
use crate::coverage::{LARGE_UNLINKED, OTHER_NAME, POSIX_QUEUE};
use crate::error::Error;
use crate::snapshot::Ghost;
use plimsoll_image::proto::{
    FdTypes, FileEntry, FownEntry, GhostFileEntry, RegFileEntry, RemapFilePathEntry, RemapType,
    Timeval,
};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Stat, linkat, lstat, open, readlinkat, seek,
    stat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Unlinked files up to this size are taken along, unless the caller says otherwise; as in CRIU.
const GHOST_LIMIT_BYTES: u64 = 1 << 20;
/// The file system of POSIX message queues (`ipc/mqueue.c`).
const MQUEUE_MAGIC: rustix::fs::FsWord = 0x1980_0202;
const DELETED: &[u8] = b" (deleted)";

/// An open file with a path.
pub(super) fn any(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    match FileType::from_raw_mode(open.stat.st_mode) {
        FileType::Fifo => return pipe::fifo(files, open, id),
        FileType::CharacterDevice if !is_plain_device(open.stat.st_rdev) => {
            return tty::file(files, open, id)?.ok_or_else(|| unknown(open));
        }
        FileType::BlockDevice | FileType::Socket | FileType::Unknown => return Err(unknown(open)),
        _ => {}
    }
    if rustix::fs::fstatfs(&open.file).is_ok_and(|it| it.f_type == MQUEUE_MAGIC) {
        return Err(Error::refused(POSIX_QUEUE.of(open.pid, &[&open.fd])));
    }
    let link = format!("/proc/{}/fd/{}", open.pid, open.fd);
    let mut entry = by_path(files, &link, open.link, &open.stat, open.flags(), id)?;
    if let Some(reg) = &mut entry.reg {
        reg.pos = open.info.pos.unsigned_abs();
        reg.fown = open.owner()?;
    }
    Ok(entry)
}

/// Devices that hold nothing: `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/random`, `/dev/urandom`, `/dev/kmsg`.
fn is_plain_device(device: u64) -> bool {
    const MEMORY: u32 = 1;
    rustix::fs::major(device) == MEMORY && [3, 5, 7, 8, 9, 11].contains(&rustix::fs::minor(device))
}

/// A file that `link`, one of `/proc`, leads to; `name` is what that says.
pub(super) fn by_path(
    files: &mut Files,
    link: &str,
    name: &[u8],
    stat: &Stat,
    flags: u32,
    id: u32,
) -> Result<FileEntry, Error> {
    let name = keep_reachable(files, link, name, stat, id)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(FileEntry {
        reg: Some(RegFileEntry {
            id,
            flags,
            fown: FownEntry::default(),
            name,
            size: regular.then(|| stat.st_size.unsigned_abs()),
            mode: Some(stat.st_mode),
            ..RegFileEntry::default()
        }),
        ..entry(FdTypes::Reg, id)
    })
}

/// Sees to it that a restore finds the file by its path or without it; gives the path.
pub(super) fn keep_reachable(
    files: &mut Files,
    link: &str,
    name: &[u8],
    there: &Stat,
    id: u32,
) -> Result<Vec<u8>, Error> {
    let symlink = FileType::from_raw_mode(there.st_mode) == FileType::Symlink;
    let same = |path: &[u8]| {
        let path = OsStr::from_bytes(path);
        let found = if symlink { lstat(path) } else { stat(path) };
        found.is_ok_and(|found| (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino))
    };
    if same(name) {
        return Ok(name.to_vec());
    }
    let was = name.strip_suffix(DELETED).unwrap_or(name);
    if let Some(pid) = ended_process(was) {
        files.remaps.push(RemapFilePathEntry {
            orig_id: id,
            remap_id: pid,
            remap_type: Some(RemapType::Procfs.into()),
        });
        return Ok(was.to_vec());
    }
    if there.st_nlink == 0 {
        ghost(files, link, there, id)?;
        return Ok(was.to_vec());
    }
    // Mount points may be covered, and files of /proc come and go with their process.
    if name.starts_with(b"/proc/") || !name.ends_with(DELETED) && name == b"/" {
        return Ok(was.to_vec());
    }
    linked(files, link, was, there, id)?;
    Ok(was.to_vec())
}

/// The process that a path below `/proc` is of, where that has ended.
fn ended_process(path: &[u8]) -> Option<u32> {
    let below = path.strip_prefix(b"/proc/")?;
    let first = below.split(|byte| *byte == b'/').next()?;
    let pid = u32::try_from(plimsoll_proc::text::number(first)?).ok()?;
    let is_gone = stat(format!("/proc/{pid}")).is_err_and(|errno| errno == Errno::NOENT);
    is_gone.then_some(pid)
}

/// An unlinked file, taken along once however many have it open.
fn ghost(files: &mut Files, link: &str, there: &Stat, id: u32) -> Result<(), Error> {
    let key = (there.st_dev, there.st_ino);
    if !files.ghosts.contains_key(&key) {
        let number = u32::try_from(files.ghosts.len()).unwrap_or(u32::MAX - 1) + 1;
        let ghost = read_ghost(
            link,
            there,
            files.options.ghost_limit_bytes.unwrap_or(GHOST_LIMIT_BYTES),
        )?;
        files.ghosts.insert(key, (number, ghost));
    }
    let remap_id = files.ghosts.get(&key).map_or(0, |(number, _)| *number);
    files.remaps.push(RemapFilePathEntry {
        orig_id: id,
        remap_id,
        remap_type: Some(RemapType::Ghost.into()),
    });
    Ok(())
}

fn read_ghost(link: &str, there: &Stat, limit_bytes: u64) -> Result<Ghost, Error> {
    let failed = |source: std::io::Error| Error::file("take along the unlinked", link, source);
    let time = |seconds: i64, nanoseconds: u64| Timeval {
        tv_sec: seconds.unsigned_abs(),
        tv_usec: nanoseconds / 1000,
    };
    let mut ghost = Ghost {
        entry: GhostFileEntry {
            uid: there.st_uid,
            gid: there.st_gid,
            mode: there.st_mode,
            dev: Some(file_system(there.st_dev)),
            ino: Some(there.st_ino),
            atim: Some(time(there.st_atime, there.st_atime_nsec)),
            mtim: Some(time(there.st_mtime, there.st_mtime_nsec)),
            ..GhostFileEntry::default()
        },
        chunks: Vec::new(),
    };
    match FileType::from_raw_mode(there.st_mode) {
        FileType::RegularFile => {
            if there.st_blocks.unsigned_abs() * 512 > limit_bytes {
                let obstacle = LARGE_UNLINKED.of(None, &[&link, &limit_bytes]);
                return Err(Error::refused(obstacle));
            }
            let file = File::open(link).map_err(failed)?;
            ghost.chunks = chunks(&file).map_err(failed)?;
            ghost.entry.chunks = Some(true);
            ghost.entry.size = Some(there.st_size.unsigned_abs());
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            ghost.entry.rdev = Some(device(there.st_rdev))
        }
        FileType::Directory | FileType::Fifo => {}
        FileType::Symlink => {
            let file = open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let target = file.and_then(|file| readlinkat(file, "", Vec::new()));
            let target = target.map_err(|errno| failed(errno.into()))?;
            ghost.entry.symlnk_target = Some(target.into_bytes());
        }
        _ => return Err(failed(Errno::NOTSUP.into())),
    }
    Ok(ghost)
}

/// A file system's number as the images have it, those of watches too: 12 bits and 20.
fn file_system(number: u64) -> u32 {
    rustix::fs::major(number) << 20 | rustix::fs::minor(number)
}

/// A device file's number as the images have it: as user space writes it.
fn device(number: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// What a file holds, without its holes.
fn chunks(file: &File) -> std::io::Result<Vec<(u64, Vec<u8>)>> {
    let mut chunks = Vec::new();
    let mut at = 0;
    loop {
        let data = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(chunks),
            data => data?,
        };
        let hole = seek(file, SeekFrom::Hole(data))?;
        let mut bytes = vec![0; usize::try_from(hole - data).map_err(|_| Errno::FBIG)?];
        file.read_exact_at(&mut bytes, data)?;
        chunks.push((data, bytes));
        at = hole;
    }
}

/// A file with another name gets one beside its old one.
fn linked(files: &mut Files, link: &str, was: &[u8], there: &Stat, id: u32) -> Result<(), Error> {
    let name = plimsoll_proc::text::printable(was).into_owned();
    if !files.options.link_remap {
        let obstacle = OTHER_NAME.of(None, &[&name]);
        return Err(Error::refused(obstacle));
    }
    let path = Path::new(OsStr::from_bytes(was));
    let remap_id = files.new_id();
    let beside = path.with_file_name(format!("link_remap.{remap_id}"));
    let failed = |errno: Errno| Error::file("give a new name to", path, errno);
    let file = open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let itself = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(CWD, itself, CWD, &beside, AtFlags::SYMLINK_FOLLOW).map_err(failed)?;
    let entry = FileEntry {
        reg: Some(RegFileEntry {
            id: remap_id,
            name: beside.as_os_str().as_bytes().to_vec(),
            mode: Some(there.st_mode),
            ..RegFileEntry::default()
        }),
        ..entry(FdTypes::Reg, remap_id)
    };
    files.entries.insert(remap_id, entry);
    files.remaps.push(RemapFilePathEntry {
        orig_id: id,
        remap_id,
        remap_type: Some(RemapType::Linked.into()),
    });
    Ok(())
}
