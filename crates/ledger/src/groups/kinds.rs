//! The kinds of memory in a group, from the files of either version.
//!
//! Unlike the host's `Cached`, a group's `file` does not include the swap cache (`__add_to_swap_cache` counts that for
//! the node alone). Pages in it that nobody maps are charged and of no kind, so that under swapping the kinds sum
//! to less than the charge, by `swapcached` at most.

use plimsoll_cgroup::format::FlatKeyed;
use plimsoll_cgroup::sample::{Memory, MemoryV1, MemoryV2};
use plimsoll_cgroup::v2;
use plimsoll_units::{Bytes, Limit};

/// What is known of a group's memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds {
    pub(super) version: u8,
    /// Whether the memory controller counts for this group at all.
    pub(super) has_controller: bool,
    pub(super) current: Option<Bytes>,
    pub(super) anon: Option<Bytes>,
    pub(super) shmem: Option<Bytes>,
    /// Huge pages of hugetlbfs, where they are charged.
    pub(super) hugetlb: Option<Bytes>,
    pub(super) page_cache: Option<Bytes>,
    /// Page cache and shared memory that some process maps, in whatever group it is.
    pub(super) mapped: Option<Bytes>,
    pub(super) kernel: Option<Bytes>,
    pub(super) dentries_inodes: Option<Bytes>,
    pub(super) swap: Option<Bytes>,
    /// Its own limit.
    pub(super) limit: Option<Limit>,
    /// Its own limit, or the one that the kernel worked out with those of all above it.
    pub(super) effective_limit: Option<Limit>,
    pub(super) swap_limit: Option<Limit>,
    /// Above this its processes are slowed down.
    pub(super) high: Option<Limit>,
    /// Percent of the last minute in which some process waited for memory.
    pub(super) stalled: Option<f64>,
    /// Pages that were needed again soon after they were taken away.
    pub(super) refaults: Option<u64>,
}

impl Kinds {
    /// What programs asked for.
    pub(super) fn user(&self) -> Option<Bytes> {
        Some(self.anon? + self.shmem? + self.hugetlb.unwrap_or_default())
    }
}

/// Sorts a group's memory by kind.
pub(super) fn of(memory: &Memory) -> Kinds {
    match memory {
        Memory::V1(memory) => of_v1(memory),
        Memory::V2(memory) => of_v2(memory),
    }
}

fn of_v1(memory: &MemoryV1) -> Kinds {
    let stat = memory.stat.clone().unwrap_or_default();
    let shmem = stat.total_shmem();
    let cache = stat.total_cache();
    Kinds {
        version: 1,
        has_controller: memory.usage.is_some(),
        current: memory.usage,
        anon: stat.total_rss(),
        shmem,
        hugetlb: None,
        page_cache: cache.zip(shmem).map(|(cache, shmem)| cache - shmem),
        mapped: stat.total_mapped_file(),
        kernel: memory
            .kmem_usage
            .map(|kmem| kmem + memory.tcp_usage.unwrap_or_default()),
        dentries_inodes: None,
        swap: stat.total_swap(),
        limit: memory.limit,
        effective_limit: stat.hierarchical_memory_limit().or(memory.limit),
        swap_limit: memory
            .memsw_limit
            .zip(memory.limit)
            .map(|(both, ram)| beyond(both, ram)),
        high: None,
        stalled: None,
        refaults: refaults(&stat.all, "total_"),
    }
}

/// For anonymous memory and files apart since 5.9.
fn refaults(stat: &FlatKeyed, prefix: &str) -> Option<u64> {
    let count = |kind| stat.get(&format!("{prefix}workingset_refault{kind}"));
    let apart = count("_anon").zip(count("_file"));
    apart
        .map(|(anon, file)| anon.saturating_add(file))
        .or_else(|| count(""))
}

/// What a limit on RAM and swap together leaves for swap when RAM is full.
fn beyond(both: Limit, ram: Limit) -> Limit {
    match (both, ram) {
        (Limit::Bytes(both), Limit::Bytes(ram)) => Limit::Bytes(both - ram),
        // The kernel keeps the limit on both above that on RAM, so this is the whole of it.
        (Limit::Bytes(both), Limit::Max) => Limit::Bytes(both),
        (Limit::Max, _) => Limit::Max,
    }
}

fn of_v2(memory: &MemoryV2) -> Kinds {
    let stat = memory.stat.clone().unwrap_or_default();
    let shmem = stat.shmem();
    let dentries_inodes = stat.slab_reclaimable();
    Kinds {
        version: 2,
        // The root has no memory.current, but a memory.stat.
        has_controller: memory.stat.is_some(),
        current: memory.current,
        anon: stat.anon(),
        shmem,
        hugetlb: stat.hugetlb(),
        page_cache: stat.file().zip(shmem).map(|(file, shmem)| file - shmem),
        mapped: stat.file_mapped(),
        kernel: kernel(&stat)
            .map(|kernel| kernel + stat.sock().unwrap_or_default())
            .zip(dentries_inodes)
            .map(|(kernel, dentries_inodes)| kernel - dentries_inodes),
        dentries_inodes,
        swap: memory.swap_current,
        limit: memory.max,
        effective_limit: memory.max,
        swap_limit: memory.swap_max,
        high: memory.high,
        stalled: memory.pressure.map(|pressure| pressure.some.avg60),
        refaults: refaults(&stat.all, ""),
    }
}

/// All kernel memory: `kernel` since 5.18, before that the sum of the parts that are shown.
fn kernel(stat: &v2::MemoryStat) -> Option<Bytes> {
    stat.kernel().or_else(|| {
        let slab = stat.slab_reclaimable()? + stat.slab_unreclaimable()?;
        let others = [
            stat.kernel_stack(),
            stat.pagetables(),
            stat.sec_pagetables(),
            stat.percpu(),
            stat.vmalloc(),
        ];
        Some(slab + others.into_iter().flatten().sum())
    })
}
