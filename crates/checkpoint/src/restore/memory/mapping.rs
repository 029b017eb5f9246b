//! Mappings made at their addresses, and what is said of them afterwards: advice, locks, guard pages.

use super::super::files::{Files, MappedFile};
use super::super::space::word;
use super::super::task::Task;
use super::super::transport::{AT_ONCE, Transport};
use super::is_made;
use crate::error::Error;
use crate::vma::{DROPPABLE, Status, status};
use plimsoll_image::proto::VmaEntry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Makes mappings one after the other; their files are handed over many at a time.
pub(super) struct Mapping<'m, 's> {
    transport: &'m Transport,
    socket: u32,
    files: &'m mut Files<'s>,
    /// The files of what is still to be made, in that order, each where it is first needed.
    ahead: VecDeque<MappedFile>,
    /// Files that the task has, and their numbers there.
    lent: BTreeMap<MappedFile, u32>,
}

impl<'m, 's> Mapping<'m, 's> {
    /// To make `vmas`, and no others that are of files.
    pub(super) fn new<'v>(
        transport: &'m Transport,
        socket: u32,
        files: &'m mut Files<'s>,
        vmas: impl IntoIterator<Item = &'v VmaEntry>,
    ) -> Self {
        let of_files = vmas.into_iter().filter(|vma| is_of_file(vma));
        let mut ahead: Vec<MappedFile> = of_files.map(MappedFile::of).collect();
        ahead.dedup();
        Self {
            transport,
            socket,
            files,
            ahead: ahead.into(),
            lent: BTreeMap::new(),
        }
    }

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
        let of_file = is_of_file(vma);
        let file = if of_file {
            Some(self.file(task, MappedFile::of(vma))?)
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
    fn file(&mut self, task: &mut Task, wanted: MappedFile) -> Result<u32, Error> {
        if !self.lent.contains_key(&wanted) {
            self.take_back(task)?;
            self.lend(task)?;
        }
        let number = self.lent.get(&wanted).copied();
        number.ok_or_else(|| Error::inconsistent("mappings are not in the order of their files"))
    }

    /// Hands over the files that come next.
    fn lend(&mut self, task: &mut Task) -> Result<(), Error> {
        let mut next = BTreeSet::new();
        while let Some(file) = self.ahead.front().copied() {
            if next.len() == AT_ONCE && !next.contains(&file) {
                break;
            }
            next.insert(file);
            self.ahead.pop_front();
        }
        let next = Vec::from_iter(next);
        let files = self.files.mapped(&next)?;
        let numbers = self.transport.hand_over_all(task, self.socket, &files)?;
        self.lent = next.into_iter().zip(numbers).collect();
        Ok(())
    }

    /// Closes the files that the task has of us: all but the transport's end.
    pub(super) fn take_back(&mut self, task: &mut Task) -> Result<(), Error> {
        let lent = std::mem::take(&mut self.lent);
        let (below, above): (Vec<u32>, Vec<u32>) =
            lent.values().partition(|number| **number < self.socket);
        for numbers in [below, above] {
            let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else {
                continue;
            };
            let range = [u64::from(*first), u64::from(*last), 0];
            task.call("close descriptors", libc::SYS_close_range, range)?;
        }
        Ok(())
    }
}

fn is_of_file(vma: &VmaEntry) -> bool {
    let kinds = Status::FILE_PRIVATE | Status::FILE_SHARED | Status::ANON_SHARED | Status::SOCKET;
    status(vma).intersects(kinds) && !status(vma).contains(Status::SYSVIPC)
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
