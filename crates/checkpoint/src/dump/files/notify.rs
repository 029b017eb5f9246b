//! Who watches files: inotify instances and fanotify groups. The kernel tells a watched file by its handle; a path is kept
//! beside that where one leads to it, and an unlinked file is found among those that are taken along.

use super::{Files, Open, entry, unknown};
use crate::coverage::{FILE_SYSTEM, NO_HANDLES};
use crate::error::Error;
use plimsoll_image::proto::{
    FanotifyFileEntry, FanotifyInodeMarkEntry, FanotifyMarkEntry, FanotifyMountMarkEntry, FdTypes,
    FhEntry, FileEntry, InotifyFileEntry, InotifyWdEntry, MarkType,
};
use plimsoll_proc::mountinfo::{self, Mount};
use plimsoll_proc::process::fanotify::{self, Line, Mark, On};
use plimsoll_proc::process::fdinfo::Kind;
use plimsoll_sys::notify::{self, Handle};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat, open as open_path, stat};
use std::os::unix::ffi::OsStrExt;

/// Words that a handle fills in images, as many as the longest has.
const HANDLE_WORDS: usize = 16;

/// `inotify(7)`
pub(super) fn inotify(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let watches = match &open.info.kind {
        Kind::Inotify(watches) => watches.as_slice(),
        _ => &[], // it watches nothing
    };
    let mut wd = Vec::with_capacity(watches.len());
    for watch in watches {
        wd.push(InotifyWdEntry {
            id,
            i_ino: watch.ino,
            mask: watch.mask,
            ignored_mask: 0,
            s_dev: device(watch.sdev),
            wd: watch.wd,
            f_handle: handle(open, watch.fhandle_type, watch.f_handle, watch.sdev)?,
        });
    }
    Ok(FileEntry {
        ify: Some(InotifyFileEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            wd,
        }),
        ..entry(FdTypes::Inotify, id)
    })
}

/// `fanotify(7)`
pub(super) fn group(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let mut entry_of_group = FanotifyFileEntry {
        id,
        flags: open.flags(),
        fown: open.owner()?,
        ..FanotifyFileEntry::default()
    };
    for line in open.info.lines().filter_map(fanotify::parse) {
        match line {
            Line::Group { flags, event_flags } => {
                entry_of_group.faflags = flags;
                entry_of_group.evflags = event_flags;
            }
            Line::Mark(mark) => entry_of_group.mark.push(marked(open, id, &mark)?),
        }
    }
    Ok(FileEntry {
        ffy: Some(entry_of_group),
        ..entry(FdTypes::Fanotify, id)
    })
}

fn marked(open: &Open<'_>, id: u32, mark: &Mark<'_>) -> Result<FanotifyMarkEntry, Error> {
    let mut entry = FanotifyMarkEntry {
        id,
        mflags: mark.flags,
        mask: mark.mask,
        ignored_mask: mark.ignored_mask,
        ..FanotifyMarkEntry::default()
    };
    match mark.on {
        On::Inode {
            ino,
            sdev,
            fhandle_type,
            f_handle,
        } => {
            entry.set_type(MarkType::Inode);
            entry.s_dev = device(sdev);
            entry.ie = Some(FanotifyInodeMarkEntry {
                i_ino: ino,
                f_handle: handle(open, fhandle_type, f_handle, sdev)?,
            });
        }
        On::Mount(number) => {
            let mount = mounts(open)?.into_iter().find(|mount| mount.id == number);
            let mount = mount.ok_or_else(|| unknown(open))?;
            let (major, minor) = mount.device;
            entry.set_type(MarkType::Mount);
            entry.s_dev = major << 20 | minor;
            entry.me = Some(FanotifyMountMarkEntry {
                mnt_id: u32::try_from(number).map_err(|_| unknown(open))?,
                path: Some(mount.mount_point.as_os_str().as_bytes().to_vec()),
            });
        }
        On::FileSystem(_) => {
            return Err(Error::refused(FILE_SYSTEM.of(open.pid, &[&open.fd])));
        }
    }
    Ok(entry)
}

/// The handle of a watched file, with a path that leads to it, if there is one.
fn handle(
    open: &Open<'_>,
    kind: Option<u64>,
    hexadecimal: Option<&[u8]>,
    sdev: u64,
) -> Result<FhEntry, Error> {
    let no_handle = || Error::refused(NO_HANDLES.of(open.pid, &[&open.fd]));
    let told = Handle {
        kind: kind
            .and_then(|kind| u32::try_from(kind).ok())
            .ok_or_else(no_handle)?,
        bytes: hexadecimal.and_then(bytes).ok_or_else(no_handle)?,
    };
    let mut words: Vec<u64> = told
        .bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            u64::from_ne_bytes(word)
        })
        .collect();
    words.resize(HANDLE_WORDS, 0);
    Ok(FhEntry {
        bytes: u32::try_from(told.bytes.len()).unwrap_or(0),
        r#type: told.kind,
        handle: words,
        path: path(open, &told, sdev)?,
        mnt_id: None,
    })
}

/// A path that leads to the file of a handle; `None` when it was unlinked, or lies where we see nothing.
fn path(open: &Open<'_>, handle: &Handle, sdev: u64) -> Result<Option<Vec<u8>>, Error> {
    let device = (device(sdev) >> 20, device(sdev) & 0xf_ffff);
    for mount in mounts(open)?
        .into_iter()
        .filter(|mount| mount.device == device)
    {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(top) = open_path(&mount.mount_point, flags, Mode::empty()) else {
            continue; // a file is mounted there, or something else upon it
        };
        let Ok(file) = notify::open_by_handle(top, handle) else {
            continue;
        };
        if let Some(path) = leads_to(&file) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn leads_to(file: &OwnedFd) -> Option<Vec<u8>> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let (there, here) = (stat(&path).ok()?, fstat(file).ok()?);
    let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
    same.then(|| path.as_os_str().as_bytes().to_vec())
}

fn mounts(open: &Open<'_>) -> Result<Vec<Mount>, Error> {
    let path = format!("/proc/{}/mountinfo", open.pid);
    let text = std::fs::read(&path).map_err(|source| Error::file("read", path, source))?;
    Ok(mountinfo::parse(&text))
}

/// The kernel's number of a device: 12 bits and 20.
fn device(sdev: u64) -> u32 {
    u32::try_from(sdev & u64::from(u32::MAX)).unwrap_or(0)
}

fn bytes(hexadecimal: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = hexadecimal.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_from_hexadecimal() {
        assert_eq!(bytes(b"a7c403"), Some(vec![0xa7, 0xc4, 3]));
        assert_eq!(bytes(b"a7c"), None);
        assert_eq!(bytes(b"xx"), None);
    }
}
