//! System V shared memory that the tree has attached (`shmop(2)`). A segment has a number and perhaps a key for the whole
//! host, and outlives who made it; it is taken along with what it holds if nobody else has it attached. Of an IPC
//! namespace of the tree's own all are.

use super::Files;
use crate::coverage::{SEGMENT_OUTSIDE, SEGMENT_PART};
use crate::error::Error;
use crate::ipc::described;
use plimsoll_image::proto::{IpcShmEntry, VmaEntry};
use plimsoll_sys::sysv_shm::{self, Status};
use plimsoll_units::PageSize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// A segment, with a file that its contents are read from.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) entry: IpcShmEntry,
    pub(super) file: File,
    /// Which processes of the tree have it attached, and where.
    attached: BTreeSet<(u32, u64)>,
}

/// Segments by their number.
pub(super) type Segments = BTreeMap<u32, Segment>;

/// The segment behind a mapping; `link` is its file among those of `map_files`.
pub(super) fn mapped(
    files: &mut Files,
    pid: u32,
    number: u64,
    link: &str,
    vma: &VmaEntry,
) -> Result<u32, Error> {
    let id = u32::try_from(number).map_err(|_| Error::inconsistent("a segment's number"))?;
    let told = sysv_shm::status(id.cast_signed())
        .map_err(|source| Error::file("ask about", format!("System V segment {id}"), source))?;
    if vma.pgoff != 0 || vma.end - vma.start < told.size_bytes {
        return Err(Error::refused(SEGMENT_PART.of(pid, &[&id])));
    }
    let segment = match files.segments.entry(id) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => {
            let file = File::open(link).map_err(|source| Error::file("open", link, source))?;
            place.insert(Segment::new(id, &told, file))
        }
    };
    segment.attached.insert((pid, vma.start));
    Ok(id)
}

/// Those that nobody has attached, too.
pub(super) fn all(files: &mut Files, page_size: PageSize) -> Result<(), Error> {
    for shmid in crate::dump::ipc::all("shm", "shmid")? {
        let id = shmid.cast_unsigned();
        if files.segments.contains_key(&id) {
            continue;
        }
        let name = || format!("System V segment {id}");
        let failed = |source| Error::file("open", name(), source);
        let told = sysv_shm::status(shmid).map_err(failed)?;
        let file = sysv_shm::file(shmid, page_size.get()).map_err(failed)?;
        files.segments.insert(id, Segment::new(id, &told, file));
    }
    Ok(())
}

impl Segment {
    fn new(id: u32, told: &Status, file: File) -> Self {
        Self {
            entry: IpcShmEntry {
                desc: described(id.cast_signed(), told.permissions),
                size: told.size_bytes,
                in_pagemaps: Some(true),
                hugetlb_flag: None,
            },
            file,
            attached: BTreeSet::new(),
        }
    }
}

/// All of them, unless others have some attached, too.
pub(super) fn finish(segments: Segments) -> Result<Vec<IpcShmEntry>, Error> {
    let mut shared = Vec::new();
    let mut entries = Vec::new();
    for (id, segment) in segments {
        let told = sysv_shm::status(id.cast_signed());
        if told.is_ok_and(|told| told.attached > segment.attached.len() as u64) {
            let pid = segment.attached.first().map_or(0, |(pid, _)| *pid);
            shared.push(SEGMENT_OUTSIDE.of(pid, &[&id]));
        }
        entries.push(segment.entry);
    }
    if shared.is_empty() {
        return Ok(entries);
    }
    Err(Error::Refused(shared))
}
