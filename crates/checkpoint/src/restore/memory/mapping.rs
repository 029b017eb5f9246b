//! Mappings made at their addresses, and what is said of them afterwards: advice, locks, guard pages.

use super::super::files::Files;
use super::super::space::word;
use super::super::task::Task;
use super::super::transport::Transport;
use super::is_made;
use crate::error::Error;
use crate::vma::{DROPPABLE, Status, status};
use plimsoll_image::proto::VmaEntry;

/// Makes mappings one after the other; neighbours are often of one file.
pub(super) struct Mapping<'m, 's> {
    pub(super) transport: &'m Transport,
    pub(super) socket: u32,
    pub(super) files: &'m mut Files<'s>,
    /// File id, and its number in the task.
    pub(super) last: Option<(u64, u32)>,
}

impl Mapping<'_, '_> {
    pub(super) fn make(
        &mut self,
        task: &mut Task,
        vma: &VmaEntry,
        protection: u32,
    ) -> Result<(), Error> {
        let status = status(vma);
        if status.contains(Status::SYSVIPC) {
            return self.files.attach(task, vma);
        }
        let is_ring = status.contains(Status::AIORING);
        let of_file = status.intersects(
            Status::FILE_PRIVATE | Status::FILE_SHARED | Status::ANON_SHARED | Status::SOCKET,
        );
        let file = if of_file {
            Some(self.file(task, vma)?)
        } else {
            None
        };
        let kept = libc::MAP_SHARED
            | libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_GROWSDOWN
            | libc::MAP_NORESERVE
            | libc::MAP_HUGETLB
            | (0x3f << 26);
        let kept = word(kept) | u64::from(DROPPABLE);
        let mut flags = u64::from(vma.flags) & kept | word(libc::MAP_FIXED);
        if of_file {
            flags &= !word(libc::MAP_ANONYMOUS);
        } else if is_ring {
            // What it holds, until it takes the place.
            flags = word(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        }
        let length = vma.end.checked_sub(vma.start).filter(|length| *length > 0);
        let length = length.ok_or_else(|| {
            Error::inconsistent(format!(
                "a mapping at {:#x} ends before it begins",
                vma.start
            ))
        })?;
        let fd = file.map_or(u64::MAX, u64::from);
        let args = [vma.start, length, protection.into(), flags, fd, vma.pgoff];
        task.call("map memory of", libc::SYS_mmap, args)?;
        Ok(())
    }

    /// The number of a mapping's file in the task.
    fn file(&mut self, task: &mut Task, vma: &VmaEntry) -> Result<u32, Error> {
        if let Some((id, number)) = self.last.filter(|(id, _)| *id == vma.shmid) {
            debug_assert_eq!(id, vma.shmid);
            return Ok(number);
        }
        self.close_last(task)?;
        let file = self.files.mapped(vma)?;
        let number = self.transport.hand_over(task, self.socket, file)?;
        self.last = Some((vma.shmid, number));
        Ok(number)
    }

    pub(super) fn close_last(&mut self, task: &mut Task) -> Result<(), Error> {
        if let Some((_, number)) = self.last.take() {
            task.call("close a descriptor", libc::SYS_close, [number.into()])?;
        }
        Ok(())
    }
}

pub(super) fn advise(task: &mut Task, vma: &VmaEntry, which: u64) -> Result<(), Error> {
    let bits = vma.madv.unwrap_or(0) & which;
    for advice in (0..64u64).filter(|advice| bits >> advice & 1 == 1) {
        let args = [vma.start, vma.end - vma.start, advice];
        task.call("advise about memory of", libc::SYS_madvise, args)?;
    }
    Ok(())
}

pub(super) fn lock_or_guard(task: &mut Task, vma: &VmaEntry) -> Result<(), Error> {
    let range = [vma.start, vma.end.saturating_sub(vma.start)];
    if status(vma).contains(Status::GUARD) {
        const MADV_GUARD_INSTALL: u64 = 102;
        let [start, length] = range;
        task.call(
            "guard memory of",
            libc::SYS_madvise,
            [start, length, MADV_GUARD_INSTALL],
        )?;
    } else if vma.flags & libc::MAP_LOCKED.unsigned_abs() != 0 && is_made(vma) {
        task.call("lock memory of", libc::SYS_mlock, range)?;
    }
    Ok(())
}
