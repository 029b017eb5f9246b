//! The commit account: what the kernel has promised, worked out again from the mappings.
//!
//! A mapping is charged to `Committed_AS` when it is private and writable (or was, and has pages) and was not
//! made with `MAP_NORESERVE`; `smaps` shows it by the flag `ac` (`accountable_mapping` in `mm/mmap.c`,
//! `Documentation/mm/overcommit-accounting.rst`). Shared memory is charged to its object: page by page as it is
//! touched (tmpfs, memfd), or by size at creation (SysV, shared anonymous). So
//!
//! ```text
//! Committed_AS = sizes of mappings with `ac`, each address space once
//!              + shared memory that exists, in RAM and in swap
//!              + what objects charged by size do not use yet
//! ```
//!
//! holds to the page, but for what can't be read. How far it holds is in `docs/design/`, "the commit account".

mod objects;
mod recount;
mod runtime;
mod shapes;

pub use recount::Recount;

use crate::look::{Commit, Policy, Unread, Unseen};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::sysvipc_shm::Segment;

/// What the account needs besides `/proc/meminfo`.
#[derive(Debug)]
pub struct Promises {
    /// The policy in force.
    pub policy: Policy,
    /// `/proc/sysvipc/shm`
    pub segments: Vec<Segment>,
    /// Added up from the mappings, where that was asked for.
    pub recount: Option<Recount>,
}

/// The policy, from the text of `vm.overcommit_memory`; `None` for one that has no meaning yet.
#[must_use]
pub fn policy(overcommit_memory: &[u8]) -> Option<Policy> {
    match overcommit_memory.trim_ascii() {
        b"0" => Some(Policy::Heuristic),
        b"1" => Some(Policy::Always),
        b"2" => Some(Policy::Strict),
        _ => None,
    }
}

/// The account; `meminfo` read as close to the recount's scan as can be. `None` where that states none.
#[must_use]
pub fn account(meminfo: &Meminfo, promises: Promises) -> Option<Commit> {
    let committed = meminfo.committed_as?;
    let mut commit = Commit {
        policy: promises.policy,
        limit_bytes: meminfo.commit_limit?,
        committed_bytes: committed,
        recomputed_bytes: None,
        unexplained_bytes: None,
        anon_outside_bytes: None,
        processes: Vec::new(),
        unreadable: Vec::new(),
    };
    if let Some(recount) = promises.recount {
        let recomputed = recount.committed(meminfo, &promises.segments);
        commit.recomputed_bytes = Some(recomputed);
        commit.unexplained_bytes = Some(committed.signed_sub(recomputed));
        commit.anon_outside_bytes = Some(recount.anon_outside());
        (commit.processes, commit.unreadable) = recount.into_processes();
    }
    Some(commit)
}

/// What the recount lacks, in words: a line for each reason.
pub fn unseen(commit: &Commit) -> impl Iterator<Item = Unseen> {
    const REASONS: [(Unread, &str); 2] = [
        (
            Unread::Denied,
            "not allowed, or denied to everybody by the process itself; root sees all but the latter",
        ),
        (
            Unread::Costly,
            "reading them would have stalled it for too long; `capture --all-mappings` reads them all the same",
        ),
    ];
    REASONS.into_iter().filter_map(|(why, words)| {
        let mut unread = commit.unreadable.iter().filter(|one| one.why == why);
        let first = unread.next()?;
        let others = match unread.count() {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        Some(Unseen {
            what: format!(
                "the mappings of process {} ({}){others}",
                first.pid, first.command
            ),
            why: words.to_owned(),
        })
    })
}
