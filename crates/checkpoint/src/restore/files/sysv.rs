//! System V shared memory. A segment that is still there, with nobody attached, is what the tree left: it is filled again. One
//! that is gone is made again by its number (`kernel.shm_next_id`, Linux 3.9, `CONFIG_CHECKPOINT_RESTORE`) and its key.

use super::super::ipc::as_creator;
use super::super::memory::Pages;
use super::super::task::Task;
use super::Files;
use crate::error::Error;
use plimsoll_image::proto::{IpcShmEntry, VmaEntry};
use plimsoll_sys::sysv_shm::{self, Segment};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// `SHM_DEST`: it goes with the last who has it attached.
const GOES: u32 = 0o1000;

/// Segments of a set, as they are made.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Which are filled.
    filled: BTreeSet<u32>,
    /// Which are of our making, and go unless the tree is complete.
    made: Vec<Segment>,
}

impl Drop for Segments {
    fn drop(&mut self) {
        for segment in &self.made {
            let _ = segment.remove();
        }
    }
}

/// Attaches the segment of a mapping, which the first who does so fills.
pub(in super::super) fn attach(
    files: &mut Files<'_>,
    task: &mut Task,
    vma: &VmaEntry,
) -> Result<(), Error> {
    let id = u32::try_from(vma.shmid).unwrap_or(u32::MAX);
    let mut entries = files.snapshot.segments.iter();
    let missing = || Error::inconsistent(format!("System V segment {id} is not there"));
    let entry = entries
        .find(|entry| entry.desc.id == id)
        .ok_or_else(missing)?;
    let first = !files.segments.filled.contains(&id);
    if first {
        find_or_make(files, entry)?;
    }
    let what = "attach a System V segment to";
    task.call(what, libc::SYS_shmat, [id.into(), vma.start, 0])?;
    if first {
        let (pid, start, end) = (task.tid.as_raw_pid(), vma.start, vma.end);
        let path = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|source| Error::file("open", &path, source))?;
        fill(files, &file, entry)?;
        files.segments.filled.insert(id);
    }
    if vma.fdflags == Some(libc::O_RDONLY.unsigned_abs()) {
        // Again, so that it can't be made writable.
        let flags = libc::SHM_RDONLY | libc::SHM_REMAP;
        let args = [id.into(), vma.start, u64::from(flags.unsigned_abs())];
        task.call(what, libc::SYS_shmat, args)?;
    }
    let args = [vma.start, vma.end - vma.start, vma.prot.into()];
    task.call("protect memory of", libc::SYS_mprotect, args)?;
    Ok(())
}

/// Makes and fills all of a namespace of the tree's own, also those that nobody has attached.
pub(super) fn all(files: &mut Files<'_>) -> Result<(), Error> {
    for entry in &files.snapshot.segments {
        find_or_make(files, entry)?;
        let id = entry.desc.id;
        let file = sysv_shm::file(id.cast_signed(), files.page_size.get())
            .map_err(|source| Error::file("open", format!("System V segment {id}"), source))?;
        fill(files, &file, entry)?;
        files.segments.filled.insert(id);
    }
    Ok(())
}

fn find_or_make(files: &mut Files<'_>, entry: &IpcShmEntry) -> Result<(), Error> {
    let desc = &entry.desc;
    let name = format!("System V segment {}", desc.id);
    if let Ok(there) = sysv_shm::status(desc.id.cast_signed()) {
        let whose = there.permissions;
        let same = whose.key == desc.key.cast_signed()
            && whose.creator == (desc.cuid, desc.cgid)
            && there.size_bytes == entry.size;
        if same && there.attached == 0 {
            return Ok(());
        }
        let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Error::file("make", name, taken));
    }
    let failed = |source| Error::file("make", &name, source);
    const NEXT: &str = "/proc/sys/kernel/shm_next_id";
    std::fs::write(NEXT, desc.id.to_string())
        .map_err(|source| Error::file("write", NEXT, source))?;
    let key = desc.key.cast_signed();
    let make = || Segment::create_by_key(key, entry.size, desc.mode);
    let segment = as_creator(desc, make).map_err(failed)?;
    files.segments.made.push(segment);
    if segment.shmid() != desc.id.cast_signed() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    segment
        .give_to(desc.uid, desc.gid, desc.mode)
        .map_err(failed)
}

/// Writes what it held, through a file.
fn fill(files: &Files<'_>, file: &File, entry: &IpcShmEntry) -> Result<(), Error> {
    let failed = |source| {
        Error::file(
            "fill",
            format!("System V segment {}", entry.desc.id),
            source,
        )
    };
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, hole, 0, entry.size).map_err(|errno| failed(errno.into()))?;
    let pages = Pages::of_object(files.set, entry.desc.id, files.page_size)?;
    pages.for_each(|at, bytes| file.write_all_at(bytes, at).map_err(failed))
}

/// The tree is complete: its segments stay, but for those that go with it.
pub(super) fn keep(files: &mut Files<'_>) {
    for entry in &files.snapshot.segments {
        if entry.desc.mode & GOES != 0 && files.segments.filled.contains(&entry.desc.id) {
            let _ = sysv_shm::remove(entry.desc.id.cast_signed()); // or it goes when it is removed by somebody
        }
    }
    files.segments.made.clear();
}
