//! The kernel's swap as a means: pages of every kind are reclaimed where they are, and nothing of ours has to be
//! there when they are wanted again.
//!
//! `process_madvise(2)`, `MADV_PAGEOUT` writes out what one process alone maps; pages still shared since a fork stay,
//! and what is left is counted afterwards, not assumed. On the way back `MADV_WILLNEED` reads swap ahead of the
//! faults.

use crate::ParkError;
use crate::arm::pidfd;
use crate::plan::Stays;
use plimsoll_proc::Root;
use plimsoll_proc::process::{map_name::MapName, maps, smaps_rollup};
use plimsoll_proc::swaps;
use plimsoll_surgery::holds::{self, Mapping, MappingKind as Kind};
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_sys::Span;
use plimsoll_sys::vm::{self, Advice};
use plimsoll_units::Bytes;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// So much is advised at a time.
const STEP_BYTES: u64 = 64 << 20;

/// Bytes of swap that are free. A compressed one in memory (zram) is left out: what it takes is memory again.
///
/// # Errors
/// When `/proc/swaps` can't be read.
pub fn free_bytes(root: &Root) -> Result<u64, ParkError> {
    let text = root.read("proc/swaps")?;
    let free = swaps::parse(&text)
        .filter(|area| !area.path.starts_with(b"/dev/zram"))
        .map(|area| area.size - area.used);
    Ok(free.sum::<Bytes>().get())
}

/// The memory of a process, by `smaps_rollup`. Nothing where it has ended.
fn usage(root: &Root, pid: u32) -> Result<plimsoll_proc::process::smaps::Usage, ParkError> {
    match root.read(format!("proc/{pid}/smaps_rollup")) {
        Err(error) if error.is_gone() => Ok(Default::default()),
        Err(error) => Err(error.into()),
        Ok(text) => Ok(smaps_rollup::parse(&text).unwrap_or_default()),
    }
}

/// Bytes of anonymous memory that are resident in a tree, counted in each process.
///
/// # Errors
/// When a process can't be looked at.
pub fn anonymous_bytes(root: &Root, tree: &StoppedTree) -> Result<u64, ParkError> {
    sum(root, tree, |usage| usage.anonymous)
}

/// Bytes that are resident in a tree, counted in each process.
///
/// # Errors
/// When a process can't be looked at.
pub fn resident_bytes(root: &Root, tree: &StoppedTree) -> Result<u64, ParkError> {
    sum(root, tree, |usage| usage.rss)
}

/// Bytes of a tree that are in swap.
///
/// # Errors
/// When a process can't be looked at.
pub fn swapped_bytes(root: &Root, tree: &StoppedTree) -> Result<u64, ParkError> {
    sum(root, tree, |usage| usage.swap_pss.unwrap_or(usage.swap))
}

fn sum(
    root: &Root,
    tree: &StoppedTree,
    what: impl Fn(plimsoll_proc::process::smaps::Usage) -> Bytes,
) -> Result<u64, ParkError> {
    let mut total = Bytes::ZERO;
    for process in &tree.processes {
        total += what(usage(root, process.name.pid)?);
    }
    Ok(total.get())
}

/// Reclaims the memory of a stopped process. `progress` is told the bytes gone over so far.
///
/// # Errors
/// [`ParkError::Interrupted`]: what is out by then comes back by itself when it is touched.
pub fn page_out(
    root: &Root,
    pid: u32,
    interrupted: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<(), ParkError> {
    let process = pidfd(pid)?;
    let mut done = 0;
    for span in mappings(root, pid)? {
        for step in steps(span) {
            if interrupted.load(Ordering::Relaxed) {
                return Err(ParkError::Interrupted);
            }
            match vm::advise(process.as_fd(), &[step], Advice::PageOut) {
                // Locked, hugetlb, a device: it stays.
                Ok(_) | Err(Errno::INVAL | Errno::NOMEM) => {}
                Err(source) => {
                    return Err(ParkError::Process {
                        operation: "page out",
                        pid,
                        source,
                    });
                }
            }
            done += step.len();
            progress(done);
        }
    }
    Ok(())
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
    for step in spans.into_iter().flat_map(steps) {
        let _ = vm::advise(process.as_fd(), &[step], Advice::WillNeed); // advice: it may be gone
    }
    Ok(())
}

/// What stays resident, by reason.
///
/// # Errors
/// When `smaps` can't be read.
pub fn left(root: &Root, pid: u32) -> Result<BTreeMap<Stays, Bytes>, ParkError> {
    let mut left: BTreeMap<Stays, Bytes> = BTreeMap::new();
    for mapping in holds::mappings(root, pid)? {
        let why = why_never(&mapping).unwrap_or_else(|| why_still(&mapping));
        *left.entry(why).or_default() += mapping.anonymous;
        *left.entry(Stays::File).or_default() += mapping.resident - mapping.anonymous;
    }
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

/// What keeps resident memory that could be reclaimed.
fn why_still(mapping: &Mapping) -> Stays {
    match mapping.kind {
        Kind::SharedMemory | Kind::FileShared => Stays::SharedMemory,
        _ => Stays::SharedByFork,
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

fn steps(span: Span) -> impl Iterator<Item = Span> {
    let mut at = span.start;
    std::iter::from_fn(move || {
        let step = Span::new(at, STEP_BYTES.min(span.end.saturating_sub(at)));
        at = step.end;
        (!step.is_empty()).then_some(step)
    })
}
