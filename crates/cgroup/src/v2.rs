//! The files of a cgroup v2 group: memory controller and core.
//!
//! `Documentation/admin-guide/cgroup-v2.rst`, "Memory Interface Files" and "Core Interface Files". The root
//! group has only some of them; a group whose parent does not enable the controller has no `memory.*`.

use crate::format::{FlatKeyed, Format, Pids, Words, byte_keys, files};
use plimsoll_proc::Dir;
use plimsoll_proc::pressure::Pressure;
use plimsoll_units::{Bytes, Limit};

/// The files of one group.
#[derive(Debug, Clone, Copy)]
pub struct Files<'d>(pub &'d Dir<'d>);

files!(Files {
    /// What is charged to the group and all below it, removed ones included.
    memory_current: Bytes = "memory.current",
    /// The most that was charged so far (5.19).
    memory_peak: Bytes = "memory.peak",
    /// Never reclaimed below this, even if others must be killed for it.
    memory_min: Limit = "memory.min",
    /// Not reclaimed below this while there is anything else to reclaim.
    memory_low: Limit = "memory.low",
    /// Above this its processes are slowed down and made to reclaim.
    memory_high: Limit = "memory.high",
    /// Above this something in it is killed.
    memory_max: Limit = "memory.max",
    /// What it holds, by kind.
    memory_stat: MemoryStat = "memory.stat",
    /// How much of the time its processes waited for memory.
    memory_pressure: Pressure = "memory.pressure",
    /// How often its limits, or those of groups below it, were met: `low`, `high`, `max`, `oom`, `oom_kill`, ….
    memory_events: FlatKeyed = "memory.events",
    /// The same for its own limits only.
    memory_events_local: FlatKeyed = "memory.events.local",
    /// Whether the kernel's killer takes all of it or nothing.
    memory_oom_group: bool = "memory.oom.group",
    /// Swapped out.
    memory_swap_current: Bytes = "memory.swap.current",
    /// The most that was swapped out so far.
    memory_swap_peak: Bytes = "memory.swap.peak",
    /// Above this its allocations are slowed down for good.
    memory_swap_high: Limit = "memory.swap.high",
    /// The most it may swap out; unlike v1's, it does not include RAM.
    memory_swap_max: Limit = "memory.swap.max",
    /// How often swapping out was refused: `high`, `max`, `fail`.
    memory_swap_events: FlatKeyed = "memory.swap.events",
    /// RAM that its compressed pages take (5.19).
    memory_zswap_current: Bytes = "memory.zswap.current",
    /// The most RAM its compressed pages may take (5.19).
    memory_zswap_max: Limit = "memory.zswap.max",
    /// Whether zswap may write its pages on to disk (6.8).
    memory_zswap_writeback: bool = "memory.zswap.writeback",
    /// Which controllers it can hand to its children.
    cgroup_controllers: Words = "cgroup.controllers",
    /// `populated`, `frozen`.
    cgroup_events: FlatKeyed = "cgroup.events",
    /// Whether it was asked to freeze; [`Files::cgroup_events`] says whether it is frozen.
    cgroup_freeze: bool = "cgroup.freeze",
    /// The processes in it, without those below it. A threaded group refuses (`EOPNOTSUPP`).
    cgroup_procs: Pids = "cgroup.procs",
    /// How many groups lie below it, alive and dying.
    cgroup_stat: Descendants = "cgroup.stat",
});

/// `memory.stat`: typed where a key is known, whole where it is not. Each figure includes all groups below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Every key.
    pub all: FlatKeyed,
}

byte_keys!(MemoryStat {
    /// Anonymous memory that is mapped.
    anon = "anon",
    /// Page cache, including tmpfs and shared memory, without the swap cache.
    file = "file",
    /// All kernel memory (5.18); older kernels show only the parts that follow.
    kernel = "kernel",
    /// Kernel stacks.
    kernel_stack = "kernel_stack",
    /// Page tables.
    pagetables = "pagetables",
    /// Page tables of virtual machines and of IOMMUs.
    sec_pagetables = "sec_pagetables",
    /// Per-cpu memory.
    percpu = "percpu",
    /// Buffers of sockets.
    sock = "sock",
    /// `vmalloc`.
    vmalloc = "vmalloc",
    /// tmpfs, shared anonymous mappings, System V segments, memfds.
    shmem = "shmem",
    /// Compressed pages in RAM: what they take; part of `kernel`.
    zswap = "zswap",
    /// Page cache that some process maps.
    file_mapped = "file_mapped",
    /// Page cache that waits to be written.
    file_dirty = "file_dirty",
    /// Pages that are in swap and in RAM; those that are mapped are in `anon` too.
    swapcached = "swapcached",
    /// Kernel objects that can be dropped: dentries, inodes.
    slab_reclaimable = "slab_reclaimable",
    /// Kernel objects that can't.
    slab_unreclaimable = "slab_unreclaimable",
    /// Huge pages, where the mount accounts for them (`memory_hugetlb_accounting`).
    hugetlb = "hugetlb",
});

impl Format for MemoryStat {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(Self {
            all: FlatKeyed::parse(text)?,
        })
    }
}

/// `cgroup.stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descendants {
    /// Every key.
    pub all: FlatKeyed,
}

impl Descendants {
    /// Removed groups below this one that memory still refers to: counted for the memory controller alone
    /// where the kernel does so (6.12), else for all controllers.
    #[must_use]
    pub fn dying(&self) -> Option<u64> {
        ["nr_dying_subsys_memory", "nr_dying_descendants"]
            .iter()
            .find_map(|key| self.all.get(key))
    }
}

impl Format for Descendants {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(Self {
            all: FlatKeyed::parse(text)?,
        })
    }
}
