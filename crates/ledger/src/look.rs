//! The account as it is shown: the types behind `plimsoll look --json`, schema `plimsoll.look/1`.
//!
//! Names and units are part of the interface: sizes are bytes with the suffix `_bytes`; what could not be
//! known is `null`, never 0, and has a line in `unseen`.

use crate::mappings::Part;
use plimsoll_units::Bytes;
use serde::Serialize;

/// One look at a host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// Always `plimsoll.look/1`.
    pub schema: &'static str,
    /// Who owns every page of RAM.
    pub host: Host,
    /// What the kernel has promised; `null` where it could not be read at all.
    pub commit: Option<Commit>,
    /// Every process that lived through the read, by descending anonymous memory.
    pub processes: Vec<Process>,
    /// Every control group with a memory controller, v1 and v2.
    pub groups: Vec<Group>,
    /// What was not seen, and what would show it.
    pub unseen: Vec<Unseen>,
}

/// The name of this schema.
pub const SCHEMA: &str = "plimsoll.look/1";

/// Who owns every page: `owners` are disjoint, and with `unattributed_bytes` they sum to `total_bytes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Host {
    /// `MemTotal`.
    pub total_bytes: Bytes,
    /// Biggest first.
    pub owners: Vec<Owner>,
    /// What no owner claims. Negative when the files were read too far apart to agree.
    pub unattributed_bytes: i64,
    /// The kernel's object caches one by one, biggest first; empty unless asked for (`look slab`), and where they may
    /// not be read.
    pub slab_caches: Vec<SlabCache>,
}

/// One of the kernel's object caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlabCache {
    /// As in `/proc/slabinfo`.
    pub name: String,
    /// What all its slabs take.
    pub bytes: Bytes,
    /// Objects in use.
    pub active_objects: u64,
    /// Objects that its slabs hold, used or not.
    pub objects: u64,
    /// Size of one object.
    pub object_size_bytes: Bytes,
    /// Whether the kernel can empty it under pressure.
    pub reclaimable: bool,
}

/// One owner of pages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Owner {
    /// Stable: `anon`, `shmem`, `page_cache`, `slab.dentry`, `pipe_buffers`, …
    pub id: String,
    /// In plain words.
    pub name: String,
    /// What it owns.
    pub bytes: Bytes,
    /// How well the figure is known.
    pub exactness: Exactness,
    /// Whether the kernel can take it back under pressure, swap aside.
    pub reclaimable: bool,
    /// Parts of it that have a name of their own: they may not cover it all, and never exceed it by more
    /// than what sampling at different instants explains.
    pub detail: Vec<Detail>,
}

/// How well a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// The kernel counts it.
    Exact,
    /// Worked out from what the kernel shows.
    Inferred,
    /// Known to be there, but not by whom it is held.
    Unnamed,
}

/// A named part of an owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    /// A vmalloc caller, a tmpfs mount, a SysV segment, the pid and name of a holder, …
    pub name: String,
    /// Its size.
    pub bytes: Bytes,
}

/// What the kernel has promised (`Documentation/mm/overcommit-accounting.rst`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Commit {
    /// `heuristic` (mode 0), `always` (1) or `strict` (2).
    pub policy: Policy,
    /// `CommitLimit`.
    pub limit_bytes: Bytes,
    /// `Committed_AS`.
    pub committed_bytes: Bytes,
    /// The same from the mappings; `null` unless asked for (`look commit`), because every `smaps` is read.
    pub recomputed_bytes: Option<Bytes>,
    /// `committed_bytes` − `recomputed_bytes`.
    pub unexplained_bytes: Option<i64>,
    /// Anonymous memory in mappings that the account does not see (without `ac`).
    pub anon_outside_bytes: Option<Bytes>,
    /// By process, largest commitment outside or not resident first.
    pub processes: Vec<CommitProcess>,
    /// Processes whose mappings were not read, with what `recomputed_bytes` may lack for each.
    pub unreadable: Vec<Unreadable>,
}

/// A process whose mappings were not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// At most this much is charged for it: `VmData` + `VmStk`, all its private writable mappings.
    pub at_most_bytes: Bytes,
    /// Why.
    pub why: Unread,
}

/// Why the mappings of a process were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// The reader lacks the right, or the process denies it to everybody.
    Denied,
    /// Reading them would have stalled it for too long, and nobody insisted.
    Costly,
}

impl Commit {
    /// At most this much of `committed_bytes` is charged for processes that were not read.
    #[must_use]
    pub fn unread_at_most(&self) -> Bytes {
        let sum: Bytes = self.unreadable.iter().map(|p| p.at_most_bytes).sum();
        sum.min(self.committed_bytes)
    }
}

/// `vm.overcommit_memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// 0: only a single request beyond all of RAM and swap is refused.
    Heuristic,
    /// 1: nothing is refused.
    Always,
    /// 2: nothing beyond `CommitLimit`.
    Strict,
}

/// One process in the commit account.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CommitProcess {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Charged to the account (mappings with `ac`).
    pub charged_bytes: Bytes,
    /// Charged but not resident.
    pub charged_not_resident_bytes: Bytes,
    /// Anonymous memory in mappings without `ac`.
    pub anon_outside_bytes: Bytes,
    /// Size of its writable private mappings without `ac`: what strict overcommit would charge it besides.
    pub unreserved_bytes: Bytes,
    /// Recognised shapes in words: "1.9 GiB in 32 glibc heaps that Committed_AS does not see".
    pub shapes: Vec<String>,
}

/// One process, from the cheap tier (`/proc/PID/status`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Its command line, or its name in brackets where it has none.
    pub command: String,
    /// User name, or the uid where it has none.
    pub user: String,
    /// Path of its cgroup (the memory controller's, where that is v1).
    pub cgroup: String,
    /// Resident: anonymous, file and shared memory mapped.
    pub rss_bytes: Bytes,
    /// Resident anonymous memory.
    pub anon_bytes: Bytes,
    /// Swapped out.
    pub swap_bytes: Bytes,
    /// Proportional share; `null` unless asked for.
    pub pss_bytes: Option<Bytes>,
    /// What it maps, the fullest first; `null` unless asked for (`look PID`), and where it may not be read.
    pub mapped: Option<Vec<Part>>,
}

/// One control group. Its figures include those of all groups below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Group {
    /// As `/proc/PID/cgroup` shows it.
    pub path: String,
    /// 1 or 2.
    pub version: u8,
    /// What is charged to it; `null` for the root of v2, which the kernel does not count.
    pub current_bytes: Option<Bytes>,
    /// Anonymous and shared memory, and huge pages where they are charged.
    pub user_bytes: Option<Bytes>,
    /// Kernel memory without dentries and inodes; sockets included. On v1 dentries and inodes are in it, since
    /// that has one counter for all.
    pub kernel_bytes: Option<Bytes>,
    /// Page cache without shared memory.
    pub page_cache_bytes: Option<Bytes>,
    /// Dentries, inodes and other reclaimable slab; `null` on v1.
    pub dentry_inode_bytes: Option<Bytes>,
    /// Swapped out.
    pub swap_bytes: Option<Bytes>,
    /// Its own `memory.max` or `memory.limit_in_bytes`; `null` for none.
    pub ram_limit_bytes: Option<Bytes>,
    /// The tightest of its own limit and those of the groups above it; `null` for none.
    pub ram_limit_effective_bytes: Option<Bytes>,
    /// Swap that it may use beside its RAM; `null` for no limit. On v1 the part of the limit on both that is
    /// beyond the one on RAM.
    pub swap_limit_bytes: Option<Bytes>,
    /// Its own `memory.high`, above which its processes are slowed down; `null` for none, and on v1.
    pub ram_high_bytes: Option<Bytes>,
    /// Percent of the last minute in which some process in it waited for memory; `null` on v1, and where the kernel
    /// does not tell.
    pub stalled_percent: Option<f64>,
    /// Pages that were needed again soon after they had been taken away, since the group was made; `null` where the
    /// kernel does not tell.
    pub refaulted_pages: Option<u64>,
    /// Processes in it.
    pub processes: Option<u64>,
    /// Charged memory that no process in it owns, at the least: the sum of `unowned`.
    pub unowned_bytes: Option<Bytes>,
    /// The same by kind.
    pub unowned: Option<Unowned>,
    /// Removed groups that still hold memory and are charged here; on v1 known for the root only.
    pub dying_children: Option<u64>,
}

/// What a group holds and no process in it owns: left by processes that ended or moved away, or cached for nobody.
/// Inferred, and at the least this much: memory that several processes share counts for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unowned {
    /// Anonymous memory.
    pub anon_bytes: Bytes,
    /// tmpfs files, System V segments and memfds that no process in it maps.
    pub shmem_bytes: Bytes,
    /// Page cache that no process in it maps.
    pub page_cache_bytes: Bytes,
}

/// Something that was not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why, and what would show it.
    pub why: String,
}
