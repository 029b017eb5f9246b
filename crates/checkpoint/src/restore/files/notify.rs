//! Who watches files: inotify instances and fanotify groups. They are made empty, and watch again when all else is done, so
//! that they don't see the restore.

use super::{Files, itself, settle};
use crate::error::Error;
use plimsoll_image::proto::{
    FanotifyFileEntry, FanotifyMarkEntry, FhEntry, FileEntry, InotifyFileEntry, MarkType,
};
use plimsoll_proc::mountinfo;
use plimsoll_sys::notify::{self, Handle};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// `inotify_init1(2)`
pub(super) fn inotify(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let notify = entry.ify.as_ref().ok_or_else(|| inconsistent(entry))?;
    let file = init(CreateFlags::CLOEXEC).map_err(failed("make", "an inotify instance"))?;
    settle(&file, notify.flags, &notify.fown)?;
    Ok(file)
}

/// `fanotify_init(2)`
pub(super) fn group(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let group = entry.ffy.as_ref().ok_or_else(|| inconsistent(entry))?;
    let failed = failed("make", "a fanotify group");
    let file = notify::fanotify(group.faflags, group.evflags).map_err(failed)?;
    settle(&file, group.flags, &group.fown)?;
    Ok(file)
}

fn inconsistent(entry: &FileEntry) -> Error {
    Error::inconsistent(format!("file {} is not what its type says", entry.id))
}

fn failed(operation: &'static str, what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::file(operation, what, errno)
}

/// Has all of them watch what they watched.
pub(super) fn watch(files: &mut Files<'_>) -> Result<(), Error> {
    // What is closed after this would be seen; a file that is only a path is not.
    for file in files.ghosts.values_mut() {
        let path = OFlags::PATH | OFlags::CLOEXEC;
        *file = open(itself(&*file), path, Mode::empty()).map_err(failed("open", "a file"))?;
    }
    for (id, file) in &files.made {
        let Some(entry) = files.snapshot.files.get(id) else {
            continue;
        };
        if let Some(instance) = &entry.ify {
            watches(files, file, instance)?;
        }
        if let Some(group) = &entry.ffy {
            marks(files, file, group)?;
        }
    }
    Ok(())
}

fn watches(files: &Files<'_>, file: &OwnedFd, instance: &InotifyFileEntry) -> Result<(), Error> {
    let failed = failed("watch", "a file");
    let mut watches: Vec<_> = instance.wd.iter().collect();
    watches.sort_by_key(|watch| watch.wd);
    for watch in watches {
        let target = target(files, &watch.f_handle, watch.s_dev, watch.i_ino)?;
        let number = watch.wd.cast_signed();
        notify::set_next_watch(file, number).map_err(&failed)?;
        let settable = libc::IN_ALL_EVENTS | libc::IN_EXCL_UNLINK | libc::IN_ONESHOT;
        let flags = WatchFlags::from_bits_retain(watch.mask & settable);
        let made = add_watch(file, itself(&target), flags).map_err(&failed)?;
        if made != number {
            let what = format!("watch {number} is watch {made} of the same file");
            return Err(Error::inconsistent(what));
        }
    }
    Ok(())
}

fn marks(files: &Files<'_>, file: &OwnedFd, group: &FanotifyFileEntry) -> Result<(), Error> {
    for mark in &group.mark {
        let (target, flags) = marked(files, mark)?;
        let path = CString::new(itself(&target)).map_err(|_| Error::inconsistent("a path"))?;
        let set = |flags: u32, mask: u32| {
            let errno = |errno| Error::file("mark", "a file", errno);
            notify::mark(file, flags, mask.into(), &path).map_err(errno)
        };
        if mark.mask != 0 {
            set(flags | mark.mflags & libc::FAN_MARK_EVICTABLE, mark.mask)?;
        }
        if mark.ignored_mask != 0 {
            let how = match mark.mflags & libc::FAN_MARK_IGNORE {
                0 => libc::FAN_MARK_IGNORED_MASK,
                new => new,
            };
            set(flags | mark.mflags | how, mark.ignored_mask)?;
        }
    }
    Ok(())
}

/// What a mark is on, and what that is.
fn marked(files: &Files<'_>, mark: &FanotifyMarkEntry) -> Result<(OwnedFd, u32), Error> {
    let missing = || Error::inconsistent("a fanotify mark is on nothing");
    match mark.r#type() {
        MarkType::Inode => {
            let inode = mark.ie.as_ref().ok_or_else(missing)?;
            let target = target(files, &inode.f_handle, mark.s_dev, inode.i_ino)?;
            Ok((target, libc::FAN_MARK_INODE))
        }
        MarkType::Mount => {
            let path = mark.me.as_ref().and_then(|mount| mount.path.as_ref());
            Ok((by_path(path.ok_or_else(missing)?)?, libc::FAN_MARK_MOUNT))
        }
    }
}

/// A watched file: one that was unlinked and made again, by its path, or by its handle.
fn target(files: &Files<'_>, handle: &FhEntry, device: u32, ino: u64) -> Result<OwnedFd, Error> {
    let ghost = files.snapshot.ghosts.iter().find(|(_, ghost)| {
        let same_device = ghost.entry.dev.is_none_or(|other| is_same(device, other));
        ghost.entry.ino == Some(ino) && same_device
    });
    if let Some(file) = ghost.and_then(|(id, _)| files.ghosts.get(id)) {
        return file
            .try_clone()
            .map_err(|source| Error::file("duplicate", "a file", source));
    }
    if let Some(path) = &handle.path {
        return by_path(path);
    }
    by_handle(handle, device)
}

/// Watches tell devices by 12 bits and 20, and so do unlinked files; before, ours did by the encoding of device files.
fn is_same(device: u32, other: u32) -> bool {
    let (major, minor) = (device >> 20, device & 0xf_ffff);
    other == device || other == (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn by_path(path: &[u8]) -> Result<OwnedFd, Error> {
    let path = OsStr::from_bytes(path);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| Error::file("watch", path, errno))
}

fn by_handle(handle: &FhEntry, device: u32) -> Result<OwnedFd, Error> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).map_err(|source| Error::file("read", path, source))?;
    let mut bytes: Vec<u8> = handle
        .handle
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    bytes.truncate(usize::try_from(handle.bytes).unwrap_or(0));
    let handle = Handle {
        kind: handle.r#type,
        bytes,
    };
    let device = (device >> 20, device & 0xf_ffff);
    let mounts = mountinfo::parse(&text).into_iter();
    let mut found = mounts
        .filter(|mount| mount.device == device)
        .filter_map(|mount| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let top = open(&mount.mount_point, flags, Mode::empty()).ok()?;
            notify::open_by_handle(top, &handle).ok()
        });
    let missing = || Error::inconsistent("a file that was watched is not there");
    found.next().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_compared_in_either_encoding() {
        let device = 0xfe << 20 | 0x12345;
        assert!(is_same(device, device));
        assert!(is_same(device, 0x45 | 0xfe << 8 | 0x123 << 20));
        assert!(!is_same(device, 0x45 | 0xfd << 8 | 0x123 << 20));
    }
}
