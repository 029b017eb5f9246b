//! Pages copied ahead, while the tree runs, so that it stands still only for what it has written since.
//!
//! The tree is stopped for a moment, the kernel told to note what is written ([`watch`]), and let go. All that is watched is
//! copied, into a set inside of the set. Then the tree is stopped for its checkpoint, and of the copy what was not written, given
//! up or moved since is good: the checkpoint builds on that, as on any parent. CRIU calls the two a pre-dump and a dump.
//!
//! ```text
//! DIR/pagemap-PID.img                 says of such pages that the parent set has them (`PE_PARENT`)
//! DIR/parent/pagemap-PID.img          all that was copied; what is not good is a hole in its file
//! DIR/parent/parent/                  what processes had in common then (`common`)
//! ```
//!
//! It is an attempt. What can't be watched, read or kept is copied while the tree stands, and when anything fails, all is.

mod watch;

use super::memory::{Base, Expected, Memory, Missed, Written, WrittenProcess};
use crate::error::Error;
use crate::fault_point::fault_point;
use crate::set::Writing;
use plimsoll_image::Kind;
use plimsoll_image::directory::PARENT_LINK;
use plimsoll_proc::Root;
use plimsoll_proc::process::status::Status;
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::{Extent, members};
use plimsoll_sys::Span;
use plimsoll_units::{Bytes, PageSize};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use watch::Watched;

/// Less is copied in the time of a second stop.
const LEAST: Bytes = Bytes::from_mib(32);

/// Where the copy goes.
const PREFIX: &str = "parent/";

/// What was copied of a tree that runs, and is watched since.
#[derive(Debug)]
pub(super) struct Ahead {
    watched: Vec<(Watched, Missed)>,
    written: Written,
    /// For how long the tree was stopped to be watched.
    pub(super) stood_still: Duration,
}

/// The pages of each process that the copy is good for.
#[derive(Debug, Default)]
pub(super) struct Kept {
    processes: BTreeMap<u32, Vec<Span>>,
    /// What is to be cut out of files of the copy.
    stale: Vec<(u32, Vec<Span>)>,
}

impl Ahead {
    /// Copies a tree that runs; `None` where that does not pay, or can't be done.
    pub(super) fn copy(
        root: &Root,
        top: u32,
        set: &Writing,
        timeout: Duration,
        page_size: PageSize,
    ) -> Option<Self> {
        if resident(root, top)? < LEAST {
            return None;
        }
        let copied = Self::watch(root, top, timeout, page_size).and_then(|mut ahead| {
            set.begin_inner(PARENT_LINK)?;
            ahead.written = ahead.write(set, page_size)?;
            Ok(ahead)
        });
        fault_point("ahead");
        copied.inspect_err(|_| give_up(set)).ok()
    }

    /// Stops the tree, begins to watch all of its processes, and lets it go.
    fn watch(root: &Root, top: u32, timeout: Duration, page_size: PageSize) -> Result<Self, Error> {
        let begun = Instant::now();
        let mut stopped = StoppedTree::stop(root, top, Extent::Whole, timeout)?;
        let mut watched = Vec::new();
        for process in &mut stopped.processes {
            let pid = process.name.pid;
            let one = Watched::begin(root, process, page_size);
            let one = one.map_err(|error| Error::file("watch", format!("/proc/{pid}"), error))?;
            watched.push((one, Missed::default()));
        }
        fault_point("watched");
        drop(stopped);
        Ok(Self {
            watched,
            written: Written::default(),
            stood_still: begun.elapsed(),
        })
    }

    fn write(&self, set: &Writing, page_size: PageSize) -> Result<Written, Error> {
        let mut memory = Memory::new(set, PREFIX, Base::Relatives, page_size);
        for (watched, missed) in &self.watched {
            let name = watched.name();
            let pid = name.pid().ok_or(Error::NoProcess(name.pid))?;
            let spans = watched.spans();
            memory.expect(Expected::running(pid, spans, missed.clone(), page_size)?);
        }
        memory.pages()
    }

    /// What the copy is good for, now that the tree stands; the watch ends. `None` where a process has come since: it has most
    /// of its pages in common with another, and those are found only where all are looked at together.
    pub(super) fn settle(self, stopped: &StoppedTree, set: &Writing) -> Option<Kept> {
        let is_watched = |name| {
            self.watched
                .iter()
                .any(|(watched, _)| watched.name() == name)
        };
        if !stopped
            .processes
            .iter()
            .all(|process| is_watched(process.name))
        {
            give_up(set);
            return None;
        }
        let unchanged: Vec<Vec<Span>> = self.watched.iter().map(unchanged).collect();
        let common = self.written.common.unchanged(&unchanged);
        let mut kept = Kept::default();
        for (((watched, _), unchanged), written) in self
            .watched
            .iter()
            .zip(&unchanged)
            .zip(&self.written.processes)
        {
            let own = Span::common(&written.own, unchanged);
            kept.stale.extend(stale(written, &own));
            let alike = Span::common(&Span::common(&written.alike, unchanged), &common);
            let all = Span::joined([own, alike].concat());
            kept.processes.insert(watched.name().pid, all);
        }
        Some(kept)
    }
}

impl Kept {
    /// Those of a process.
    pub(super) fn take(&mut self, pid: u32) -> Vec<Span> {
        self.processes.remove(&pid).unwrap_or_default()
    }

    /// What the files of the copy need not hold, by their numbers: ranges of bytes.
    pub(super) fn take_stale(&mut self) -> Stale {
        Stale(std::mem::take(&mut self.stale))
    }
}

/// Pages that were copied in vain.
#[derive(Debug, Default)]
pub(super) struct Stale(Vec<(u32, Vec<Span>)>);

impl Stale {
    /// Makes holes of them. A file system that can't keeps them.
    pub(super) fn cut_out(&self, set: &Writing) -> Result<(), Error> {
        for (pages_id, ranges) in &self.0 {
            let name = Kind::Pages.file_name((*pages_id).into());
            let file = set.reopen(&format!("{PREFIX}{name}"))?;
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            for range in ranges {
                if fallocate(&file, punch, range.start, range.len()).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Where in the file of a process's pages those are that are not `good`.
fn stale(written: &WrittenProcess, good: &[Span]) -> Option<(u32, Vec<Span>)> {
    let mut offset = 0;
    let mut stale = Vec::new();
    for span in &written.own {
        let parts = Span::without(&[*span], good).into_iter();
        stale.extend(parts.map(|part| Span::new(offset + (part.start - span.start), part.len())));
        offset += span.len();
    }
    (!stale.is_empty()).then(|| (written.pages_id, Span::joined(stale)))
}

/// What has been copied of a process, and has not changed since the watch began.
fn unchanged((watched, missed): &(Watched, Missed)) -> Vec<Span> {
    let missed = missed.lock().unwrap_or_else(PoisonError::into_inner);
    Span::without(&watched.unwritten(), &Span::joined(missed.clone()))
}

/// Nothing of it stays among the images.
fn give_up(set: &Writing) {
    let _ = set.remove_inner(); // or it was never made; what else is wrong is found when the images are written
}

/// How much anonymous memory of a tree is in RAM; pages that several processes have count for each. `None` where a device may
/// write into some of it unseen.
fn resident(root: &Root, top: u32) -> Option<Bytes> {
    let mut resident = Bytes::ZERO;
    for name in members(root, top, Extent::Whole).ok()? {
        let text = root.read(format!("proc/{}/status", name.pid)).ok()?;
        let Some(vm) = Status::parse(&text).ok()?.vm else {
            continue; // a zombie
        };
        if vm.pinned > Bytes::ZERO {
            return None;
        }
        resident += vm.rss_anon?;
    }
    Some(resident)
}
