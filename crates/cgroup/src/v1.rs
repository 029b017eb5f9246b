//! The files of a cgroup v1 group: memory controller and freezer.
//!
//! `Documentation/admin-guide/cgroup-v1/memory.rst`. Limits on swap (`memsw`) include RAM. Kernel memory has one
//! counter without parts, included in the usage; TCP buffers have their own, which is not.

use crate::format::{self, FlatKeyed, Format, Pids, byte_keys, files};
use plimsoll_proc::Dir;
use plimsoll_units::{Bytes, Limit};

/// The files of one group.
#[derive(Debug, Clone, Copy)]
pub struct Files<'d>(pub &'d Dir<'d>);

files!(Files {
    /// What is charged: user memory, page cache and kernel memory of the group and, with `use_hierarchy`, of all
    /// below it. In the root group the kernel adds up user memory and page cache.
    usage: Bytes = "memory.usage_in_bytes",
    /// The most that was charged so far.
    max_usage: Bytes = "memory.max_usage_in_bytes",
    /// Above this something in it is killed.
    limit: Limit = "memory.limit_in_bytes",
    /// Reclaimed down to this first when the host is short.
    soft_limit: Limit = "memory.soft_limit_in_bytes",
    /// How often the limit was met.
    failcnt: u64 = "memory.failcnt",
    /// RAM and swap.
    memsw_usage: Bytes = "memory.memsw.usage_in_bytes",
    /// The most RAM and swap so far.
    memsw_max_usage: Bytes = "memory.memsw.max_usage_in_bytes",
    /// Limit on RAM and swap together.
    memsw_limit: Limit = "memory.memsw.limit_in_bytes",
    /// How often that limit was met.
    memsw_failcnt: u64 = "memory.memsw.failcnt",
    /// Kernel memory without TCP buffers.
    kmem_usage: Bytes = "memory.kmem.usage_in_bytes",
    /// The most kernel memory so far.
    kmem_max_usage: Bytes = "memory.kmem.max_usage_in_bytes",
    /// Limit on kernel memory; no longer enforced (5.16).
    kmem_limit: Limit = "memory.kmem.limit_in_bytes",
    /// How often that limit was met.
    kmem_failcnt: u64 = "memory.kmem.failcnt",
    /// TCP buffers, not included in [`Files::usage`].
    tcp_usage: Bytes = "memory.kmem.tcp.usage_in_bytes",
    /// The most TCP buffers so far.
    tcp_max_usage: Bytes = "memory.kmem.tcp.max_usage_in_bytes",
    /// Limit on TCP buffers.
    tcp_limit: Limit = "memory.kmem.tcp.limit_in_bytes",
    /// How often that limit was met.
    tcp_failcnt: u64 = "memory.kmem.tcp.failcnt",
    /// What it holds, by kind.
    stat: MemoryStat = "memory.stat",
    /// `oom_kill_disable`, `under_oom`, `oom_kill`.
    oom_control: FlatKeyed = "memory.oom_control",
    /// Whether groups below count here too; always so since 5.11.
    use_hierarchy: bool = "memory.use_hierarchy",
    /// The processes in it, without those below it.
    procs: Pids = "cgroup.procs",
    /// The threads in it.
    tasks: Pids = "tasks",
    /// Whether it runs; only where the freezer is mounted.
    freezer_state: FreezerState = "freezer.state",
});

/// `memory.stat`: typed where a key is known, whole where it is not.
///
/// `total_…` includes all groups below, as [`Files::usage`] does with `use_hierarchy`. Which is why only
/// those have a name here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Every key.
    pub all: FlatKeyed,
}

byte_keys!(MemoryStat {
    /// Page cache, including tmpfs and shared memory, without the swap cache.
    total_cache = "total_cache",
    /// Anonymous memory.
    total_rss = "total_rss",
    /// tmpfs, shared anonymous mappings, System V segments, memfds (4.2).
    total_shmem = "total_shmem",
    /// Page cache that some process maps.
    total_mapped_file = "total_mapped_file",
    /// Pages that are in swap and in RAM; those that are mapped are in `total_rss` too.
    total_swapcached = "total_swapcached",
    /// Swapped out.
    total_swap = "total_swap",
});

impl MemoryStat {
    /// The tightest RAM limit of the group and all above it.
    #[must_use]
    pub fn hierarchical_memory_limit(&self) -> Option<Limit> {
        self.limit("hierarchical_memory_limit")
    }

    /// The tightest limit on RAM and swap together.
    #[must_use]
    pub fn hierarchical_memsw_limit(&self) -> Option<Limit> {
        self.limit("hierarchical_memsw_limit")
    }

    fn limit(&self, key: &str) -> Option<Limit> {
        self.all.get(key).map(format::limit)
    }
}

impl Format for MemoryStat {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(Self {
            all: FlatKeyed::parse(text)?,
        })
    }
}

/// `freezer.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// It runs.
    Thawed,
    /// Some of its tasks run still.
    Freezing,
    /// None does.
    Frozen,
}

impl Format for FreezerState {
    fn parse(text: &[u8]) -> Option<Self> {
        match text.trim_ascii() {
            b"THAWED" => Some(Self::Thawed),
            b"FREEZING" => Some(Self::Freezing),
            b"FROZEN" => Some(Self::Frozen),
            _ => None,
        }
    }
}
