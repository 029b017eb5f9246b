//! The account of control groups: what each is charged by kind, its limits, and what no process in it owns.
//!
//! The kernel charges a page to the group of the process that touched it first, and leaves it there when that
//! process ends or moves away. So a group holds more than its processes do: page cache, tmpfs files, segments,
//! the memory of children that were removed. Each group's figures include those of all below it, as the kernel
//! counts them.

mod kinds;

use crate::look::{Group, Unowned, Unseen};
use kinds::Kinds;
use plimsoll_cgroup::Error;
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::sample::{self, Memory, Sample, Tree};
use plimsoll_proc::process;
use plimsoll_proc::process::sample::Samples;
use plimsoll_proc::process::status::Vm;
use plimsoll_proc::text::printable;
use plimsoll_units::{Bytes, Limit};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What a process has resident, by kind (`RssAnon`, `RssFile`, `RssShmem`); nothing for kernel threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Anonymous memory.
    pub anon: Bytes,
    /// Pages of files.
    pub file: Bytes,
    /// Shared memory.
    pub shmem: Bytes,
}

/// By pid, what each process has resident; without those whose kernel does not tell the kinds apart (before 4.5).
#[must_use]
pub fn residents(samples: &Samples) -> HashMap<u32, Resident> {
    let of = |sample: &process::sample::Sample| {
        let resident = match &sample.status.vm {
            None => Some(Resident::default()),
            Some(vm) => resident(vm),
        };
        Some((sample.status.pid, resident?))
    };
    samples.processes.iter().filter_map(of).collect()
}

fn resident(vm: &Vm) -> Option<Resident> {
    Some(Resident {
        anon: vm.rss_anon?,
        file: vm.rss_file?,
        shmem: vm.rss_shmem?,
    })
}

/// One row for each group with a memory controller, parents first, and what could not be seen.
#[must_use]
pub fn account(sample: &Sample, processes: &HashMap<u32, Resident>) -> (Vec<Group>, Vec<Unseen>) {
    let mut rows = Vec::new();
    for tree in &sample.trees {
        rows.extend(tree_rows(tree, processes));
    }
    (rows, unseen(sample))
}

fn tree_rows(tree: &Tree, processes: &HashMap<u32, Resident>) -> Vec<Group> {
    let held = held_by_processes(tree, processes);
    // By the place of each group, since parents come before their children.
    let mut paths: Vec<PathBuf> = Vec::with_capacity(tree.groups.len());
    let mut limits: Vec<Limit> = Vec::with_capacity(tree.groups.len());
    let mut rows = Vec::with_capacity(tree.groups.len());
    for (group, held) in tree.groups.iter().zip(&held) {
        let parent = group
            .parent
            .and_then(|at| Some((paths.get(at)?, *limits.get(at)?)));
        let (path, above) = match parent {
            Some((path, limit)) => (path.join(&group.name), limit),
            None => (tree.hierarchy.root.clone(), Limit::Max),
        };
        let kinds = kinds::of(&group.memory);
        let limit = tightest(above, kinds.effective_limit);
        if kinds.has_controller {
            rows.push(Group {
                path: printable(path.as_os_str().as_bytes()).into_owned(),
                dying_children: dying(tree, group),
                ..row(&kinds, held, limit)
            });
        }
        paths.push(path);
        limits.push(limit);
    }
    rows
}

fn row(kinds: &Kinds, held: &Held, effective_limit: Limit) -> Group {
    let unowned = unowned(kinds, held);
    Group {
        version: kinds.version,
        current_bytes: kinds.current,
        user_bytes: kinds.user(),
        kernel_bytes: kinds.kernel,
        page_cache_bytes: kinds.page_cache,
        dentry_inode_bytes: kinds.dentries_inodes,
        swap_bytes: kinds.swap,
        ram_limit_bytes: kinds.limit.and_then(Limit::bytes),
        ram_limit_effective_bytes: effective_limit.bytes(),
        swap_limit_bytes: kinds.swap_limit.and_then(Limit::bytes),
        ram_high_bytes: kinds.high.and_then(Limit::bytes),
        stalled_percent: kinds.stalled,
        refaulted_pages: kinds.refaults,
        processes: held.processes,
        unowned_bytes: unowned.map(|(total, _)| total),
        unowned: unowned.map(|(_, parts)| parts),
        ..Group::default()
    }
}

/// What the processes in a group and below it have resident.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// How many there are, as far as all could be counted.
    processes: Option<u64>,
    /// `None` when there are some of which this is not known.
    resident: Option<Resident>,
}

/// For each group: its own processes and those of all below it.
fn held_by_processes(tree: &Tree, processes: &HashMap<u32, Resident>) -> Vec<Held> {
    let mut held: Vec<Held> = tree
        .groups
        .iter()
        .map(|group| own(group, processes))
        .collect();
    // Children come after their parents: from the end every child is complete before its parent takes it.
    for (at, group) in tree.groups.iter().enumerate().rev() {
        let child = held.get(at).copied().unwrap_or_default();
        if let Some(parent) = group.parent.and_then(|parent| held.get_mut(parent)) {
            parent.processes = parent
                .processes
                .zip(child.processes)
                .map(|(a, b)| a.saturating_add(b));
            parent.resident = parent.resident.zip(child.resident).map(|(a, b)| sum(a, b));
        }
    }
    held
}

fn own(group: &sample::Group, processes: &HashMap<u32, Resident>) -> Held {
    let Some(procs) = &group.procs else {
        return Held::default();
    };
    let seen = u64::try_from(procs.seen.len()).unwrap_or(u64::MAX);
    let all_known = (procs.outside == 0).then(Resident::default);
    Held {
        processes: Some(seen.saturating_add(procs.outside)),
        resident: procs.seen.iter().fold(all_known, |all, pid| {
            all.zip(processes.get(pid)).map(|(all, one)| sum(all, *one))
        }),
    }
}

fn sum(a: Resident, b: Resident) -> Resident {
    Resident {
        anon: a.anon + b.anon,
        file: a.file + b.file,
        shmem: a.shmem + b.shmem,
    }
}

/// The least that no process in the group owns: in all, and by kind.
///
/// Two ways to know a lower bound. What is charged beyond all that its processes have resident: sharing only makes
/// that smaller. And page cache that no process at all maps, which the kernel counts; but not by
/// kind, so that the parts may sum to less than the whole.
fn unowned(kinds: &Kinds, held: &Held) -> Option<(Bytes, Unowned)> {
    let (anon, shmem, cache) = (kinds.anon?, kinds.shmem?, kinds.page_cache?);
    let unmapped = (shmem + cache) - kinds.mapped.unwrap_or(shmem + cache);
    // With a process of which nothing is known, the first way is not open.
    let held = held.resident.unwrap_or(Resident {
        anon,
        file: cache,
        shmem,
    });
    let parts = Unowned {
        anon_bytes: anon - held.anon,
        shmem_bytes: (shmem - held.shmem).max(unmapped - cache),
        page_cache_bytes: (cache - held.file).max(unmapped - shmem),
    };
    let files = (parts.shmem_bytes + parts.page_cache_bytes).max(unmapped);
    Some((parts.anon_bytes + files, parts))
}

fn tightest(above: Limit, own: Option<Limit>) -> Limit {
    match (above.bytes(), own.and_then(Limit::bytes)) {
        (Some(above), Some(own)) => Limit::Bytes(above.min(own)),
        (Some(one), None) | (None, Some(one)) => Limit::Bytes(one),
        (None, None) => Limit::Max,
    }
}

fn dying(tree: &Tree, group: &sample::Group) -> Option<u64> {
    match &group.memory {
        Memory::V1(_) => tree.dying.filter(|_| group.parent.is_none()),
        Memory::V2(memory) => memory.descendants.as_ref()?.dying(),
    }
}

fn unseen(sample: &Sample) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    if let Some(first) = sample.errors.first() {
        unseen.push(refused(first, sample.errors.len()));
    }
    if sample
        .trees
        .iter()
        .any(|tree| tree.hierarchy.version == Version::V1)
    {
        unseen.push(Unseen {
            what: "dentries and inodes of control groups".to_owned(),
            why: "cgroup v1 counts kernel memory without parts, so they are in kernel_bytes; cgroup v2 \
                  shows them apart"
                .to_owned(),
        });
    }
    unseen
}

/// One line for all that was refused: the same cause as a rule.
fn refused(first: &Error, count: usize) -> Unseen {
    let others = match count.saturating_sub(1) {
        0 => String::new(),
        others => format!("; {others} more like it"),
    };
    let remedy = if first.is_denied() {
        "; root would see it"
    } else {
        ""
    };
    Unseen {
        what: "some control groups".to_owned(),
        why: printable(format!("{first}{others}{remedy}").as_bytes()).into_owned(),
    }
}

#[cfg(test)]
mod tests;
