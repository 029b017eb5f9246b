//! The kernel's swap as a means: pages of every kind are reclaimed where they are, and nothing of ours has to be
//! there when they are wanted again.
//!
//! `process_madvise(2)`, `MADV_PAGEOUT` writes out what one process alone maps; without CAP_SYS_NICE the process advises
//! for itself, by a remote call. [`shared`] tells how shared memory leaves. Pages shared since a fork leave only by the
//! reclaim of a control group that the tree has to itself. What is left is counted afterwards, not assumed. On the way
//! back `MADV_WILLNEED` reads swap ahead of the faults.

mod ahead;
mod budget;
mod header;
pub(crate) mod own;
mod shared;

pub use budget::Budget;
pub use own::OwnSwapError;

use crate::ParkError;
use crate::arm::pidfd;
use crate::memory_group::MemoryGroup;
use crate::plan::Stays;
use plimsoll_proc::Root;
use plimsoll_proc::process::{map_name::MapName, maps, smaps_rollup};
use plimsoll_surgery::holds::{self, Mapping, MappingKind as Kind};
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::{StoppedProcess, StoppedTree};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Pagemap, Run};
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::vm::{self, Advice};
use plimsoll_units::{Bytes, PageSize};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use shared::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

/// So much is advised at a time.
const STEP_BYTES: u64 = 64 << 20;

/// The memory of a process, by `smaps_rollup`. Nothing where it has ended, or where we may not look: that is an obstacle of
/// its own ([`plimsoll_surgery::holds::Obstacle::Denied`]).
fn usage(root: &Root, pid: u32) -> Result<plimsoll_proc::process::smaps::Usage, ParkError> {
    match root.read(format!("proc/{pid}/smaps_rollup")) {
        Err(error) if error.is_gone() || error.is_denied() => Ok(Default::default()),
        Err(error) => Err(error.into()),
        Ok(text) => Ok(smaps_rollup::parse(&text).unwrap_or_default()),
    }
}

/// What it takes to swap all of these processes: anonymous and shared memory, what several share counted once.
///
/// # Errors
/// When a process can't be looked at.
pub fn needed(root: &Root, pids: impl IntoIterator<Item = u32>) -> Result<Bytes, ParkError> {
    sum(root, pids, |usage| {
        let anonymous = usage.pss_anon.unwrap_or(usage.anonymous);
        anonymous + usage.pss_shmem.unwrap_or_default()
    })
}

/// Bytes of a tree that are in swap, shared memory apart.
fn swapped(root: &Root, pids: impl IntoIterator<Item = u32>) -> Result<Bytes, ParkError> {
    sum(root, pids, |usage| usage.swap_pss.unwrap_or(usage.swap))
}

fn sum(
    root: &Root,
    pids: impl IntoIterator<Item = u32>,
    what: impl Fn(plimsoll_proc::process::smaps::Usage) -> Bytes,
) -> Result<Bytes, ParkError> {
    let mut total = Bytes::ZERO;
    for pid in pids {
        total += what(usage(root, pid)?);
    }
    Ok(total)
}

/// What paging out came to.
#[derive(Debug)]
pub struct PagedOut {
    /// Memory that is free now, what several processes share counted once.
    pub moved: Bytes,
    /// In swap.
    pub stored: Bytes,
    /// What stays, process by process.
    pub left: Vec<BTreeMap<Stays, Bytes>>,
}

/// Reclaims the memory of a stopped tree. `progress` is told the bytes that are gone over, and all there are.
///
/// # Errors
/// [`ParkError::Interrupted`]: what is out by then comes back by itself when it is touched.
pub fn page_out(
    root: &Root,
    tree: &mut StoppedTree,
    page_size: PageSize,
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PagedOut, ParkError> {
    let names = tree.processes.iter().map(|process| process.name);
    let pids: Vec<u32> = names.map(|name| name.pid).collect();
    let before = sum(root, pids.iter().copied(), |usage| usage.pss)?;
    let shared_before = Shared::look(root, pids.iter().copied())?;
    let mut spans = Vec::with_capacity(pids.len());
    for pid in &pids {
        spans.push(mappings(root, *pid)?);
    }
    let all = spans.iter().flatten().map(|span| span.len()).sum();
    let mut done = 0;
    for (process, spans) in tree.processes.iter_mut().zip(spans) {
        let shared = shared_before.of_several(process.name.pid);
        let mut advised = Advised::new(root, process)?;
        for step in spans.into_iter().flat_map(|span| steps(span, STEP_BYTES)) {
            if interrupted.load(Ordering::Relaxed) {
                return Err(ParkError::Interrupted);
            }
            advised.page_out(step)?;
            done += step.len();
            progress(done, all);
        }
        for span in shared {
            advised.give_up(span)?;
        }
    }
    let mut left = what_is_left(root, &pids, page_size)?;
    if left
        .iter()
        .any(|left| left.contains_key(&Stays::SharedByFork))
    {
        reclaim_own_groups(root, &pids);
        left = what_is_left(root, &pids, page_size)?;
    }
    let shared_after = Shared::look(root, pids.iter().copied())?;
    let kept = shared_before.kept(&shared_after);
    if let Some(first) = left.first_mut() {
        *first.entry(Stays::SharedMemory).or_default() += kept;
    }
    let after = sum(root, pids.iter().copied(), |usage| usage.pss)?;
    Ok(PagedOut {
        moved: before - after - kept,
        stored: swapped(root, pids)? + shared_after.swapped(),
        left,
    })
}

/// A stopped process, advised from outside where we may, else by calls that it makes itself.
struct Advised<'p> {
    root: &'p Root,
    pidfd: OwnedFd,
    pid: u32,
    process: Option<&'p mut StoppedProcess>,
    operation: Option<Operation<'p>>,
    by_itself: bool,
}

impl<'p> Advised<'p> {
    fn new(root: &'p Root, process: &'p mut StoppedProcess) -> Result<Self, ParkError> {
        let pid = process.name.pid;
        Ok(Self {
            root,
            pidfd: pidfd(pid)?,
            pid,
            process: Some(process),
            operation: None,
            by_itself: false,
        })
    }

    fn page_out(&mut self, step: Span) -> Result<(), ParkError> {
        if !self.by_itself {
            match vm::advise(self.pidfd.as_fd(), &[step], Advice::PageOut) {
                // Locked, hugetlb, a device: it stays.
                Ok(_) | Err(Errno::INVAL | Errno::NOMEM) => return Ok(()),
                // CAP_SYS_NICE is wanted, or process_madvise(2) filtered out by a container's seccomp profile.
                Err(Errno::PERM | Errno::NOSYS) => self.by_itself = true,
                Err(source) => {
                    return Err(ParkError::Process {
                        operation: "page out",
                        pid: self.pid,
                        source,
                    });
                }
            }
        }
        self.call(step, libc::MADV_PAGEOUT)
    }

    /// Its mapping of shared memory becomes as if it had not touched it.
    fn give_up(&mut self, span: Span) -> Result<(), ParkError> {
        self.call(span, libc::MADV_DONTNEED)
    }

    fn call(&mut self, span: Span, advice: i32) -> Result<(), ParkError> {
        if let Some(process) = self.process.take() {
            self.operation = Some(Operation::begin(self.root, process)?);
        }
        if let Some(operation) = &mut self.operation {
            let args = [span.start, span.len(), advice.unsigned_abs().into()];
            // Where the kernel refuses, it stays.
            let _ = operation.try_call(Syscall::new(libc::SYS_madvise, args))?;
        }
        Ok(())
    }
}

/// Control groups that nobody outside of the tree is in are reclaimed as a whole.
fn reclaim_own_groups(root: &Root, pids: &[u32]) {
    own_groups(root, pids).iter().for_each(MemoryGroup::reclaim);
}

/// The control groups that nobody outside of the tree is in.
pub(crate) fn own_groups(root: &Root, pids: &[u32]) -> Vec<MemoryGroup> {
    let all: BTreeSet<u32> = pids.iter().copied().collect();
    let groups: BTreeSet<MemoryGroup> = pids
        .iter()
        .filter_map(|pid| MemoryGroup::of(root, *pid))
        .collect();
    let own = |group: &MemoryGroup| group.holds_only(&all);
    groups.into_iter().filter(own).collect()
}

/// Reads a process's swapped memory ahead of its faults. The process runs meanwhile; what it does to its mappings is
/// no matter.
///
/// # Errors
/// When it can't be opened or its mappings can't be read; not when it ends.
pub fn bring_back(root: &Root, pid: u32) -> Result<(), ParkError> {
    let process = pidfd(pid)?;
    let mut spans = mappings(root, pid)?;
    // What a program touches first lies in small mappings: stacks, data, the beginnings of heaps.
    spans.sort_by_key(|span| span.len());
    // Of any other error it is only advice: mappings may be gone.
    if let Err(Errno::PERM | Errno::NOSYS) = ahead::advise(&process, &spans) {
        let _ = ahead::read(pid, &spans, plimsoll_proc::page_size::read(root)?);
    }
    Ok(())
}

fn what_is_left(
    root: &Root,
    pids: &[u32],
    page_size: PageSize,
) -> Result<Vec<BTreeMap<Stays, Bytes>>, ParkError> {
    pids.iter().map(|pid| left(root, *pid, page_size)).collect()
}

/// What stays resident of a process, by reason.
fn left(root: &Root, pid: u32, page_size: PageSize) -> Result<BTreeMap<Stays, Bytes>, ParkError> {
    let failed = |source| ParkError::Process {
        operation: "read the page map of",
        pid,
        source,
    };
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pagemap = Pagemap::open(raw.ok_or(ParkError::NoProcess(pid))?, page_size);
    let pagemap =
        pagemap.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let mut left: BTreeMap<Stays, Bytes> = BTreeMap::new();
    for mapping in holds::mappings(root, pid)? {
        if let Some(why) = why_never(&mapping) {
            *left.entry(why).or_default() += mapping.resident;
            continue;
        }
        let mut by_fork = Bytes::ZERO;
        let add = |run: Run| {
            if run.page == Page::Shared {
                by_fork += Bytes(run.span.len());
            }
        };
        pagemap.runs(mapping.span, add).map_err(failed)?;
        // Before Linux 6.7 the zero page counts as shared; it is no anonymous memory.
        let by_fork = by_fork.min(mapping.anonymous);
        let of_objects = match mapping.kind {
            Kind::SharedMemory => Stays::SharedMemory,
            _ => Stays::File,
        };
        *left.entry(of_objects).or_default() += mapping.resident - mapping.anonymous;
        *left.entry(Stays::SharedByFork).or_default() += by_fork;
        *left.entry(Stays::Unreclaimed).or_default() += mapping.anonymous - by_fork;
    }
    left.retain(|_, bytes| *bytes > Bytes::ZERO);
    Ok(left)
}

/// Why a mapping's memory can never be reclaimed; `None` where it can, once nobody else maps it.
pub(crate) fn why_never(mapping: &Mapping) -> Option<Stays> {
    match mapping.kind {
        _ if mapping.traits.locked => Some(Stays::Locked),
        Kind::Hugetlb => Some(Stays::Hugetlb),
        Kind::Kernel | Kind::Device | Kind::Ring | Kind::Aio | Kind::Secret => Some(Stays::Special),
        _ => None,
    }
}

fn mappings(root: &Root, pid: u32) -> Result<Vec<Span>, ParkError> {
    let text = root.read(format!("proc/{pid}/maps"))?;
    let spans = maps::parse(&text).flatten().filter(|mapping| {
        let name = mapping.name();
        !matches!(name, MapName::Vdso | MapName::Vvar | MapName::Vsyscall)
    });
    Ok(spans
        .map(|mapping| Span {
            start: mapping.start,
            end: mapping.end,
        })
        .collect())
}

fn steps(span: Span, most: u64) -> impl Iterator<Item = Span> {
    let mut at = span.start;
    std::iter::from_fn(move || {
        let step = Span::new(at, most.min(span.end.saturating_sub(at)));
        at = step.end;
        (!step.is_empty()).then_some(step)
    })
}
