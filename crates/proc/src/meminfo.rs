//! `/proc/meminfo`: the host's memory by kind (`proc_meminfo(5)`, `Documentation/filesystems/proc.rst`).
//!
//! Lines are `Name: N kB`, where kB is KiB, or `Name: N` for counts of huge pages. The kernel fills the
//! file line by line from running counters: no two lines are of quite the same instant.

use crate::counters::counters;
use crate::text::{key_value, lines, number, words};
use plimsoll_units::Bytes;

counters! {
    /// What `/proc/meminfo` says; `None` for a line that this kernel does not have.
    pub struct Meminfo {
        [Bytes = Bytes::from_kib]
        /// RAM that the page allocator was given.
        mem_total = b"MemTotal",
        /// Free in the buddy lists; pages on per-CPU lists are not here.
        mem_free = b"MemFree",
        /// The kernel's estimate of what can be had without swapping.
        mem_available = b"MemAvailable",
        /// Page cache of block devices.
        buffers = b"Buffers",
        /// Page cache without `buffers` and swap cache; with `shmem`.
        cached = b"Cached",
        /// In swap and in RAM at once.
        swap_cached = b"SwapCached",
        /// Recently used pages on the LRU lists.
        active = b"Active",
        /// Less recently used pages on the LRU lists.
        inactive = b"Inactive",
        /// Of `active`: anonymous and shared memory.
        active_anon = b"Active(anon)",
        /// Of `inactive`: anonymous and shared memory.
        inactive_anon = b"Inactive(anon)",
        /// Of `active`: files.
        active_file = b"Active(file)",
        /// Of `inactive`: files.
        inactive_file = b"Inactive(file)",
        /// On the list of pages that reclaim passes over.
        unevictable = b"Unevictable",
        /// Locked by `mlock(2)`.
        mlocked = b"Mlocked",
        /// Size of all swap.
        swap_total = b"SwapTotal",
        /// Unused swap.
        swap_free = b"SwapFree",
        /// RAM that zswap's compressed pages take.
        zswap = b"Zswap",
        /// What those pages are uncompressed.
        zswapped = b"Zswapped",
        /// Changed in the page cache and not yet on disk.
        dirty = b"Dirty",
        /// On its way to disk.
        writeback = b"Writeback",
        /// Anonymous pages mapped by processes.
        anon_pages = b"AnonPages",
        /// Page cache mapped by processes.
        mapped = b"Mapped",
        /// tmpfs, SysV and other shared memory.
        shmem = b"Shmem",
        /// `s_reclaimable` and other reclaimable kernel memory.
        k_reclaimable = b"KReclaimable",
        /// All slab pages.
        slab = b"Slab",
        /// Slab of caches that a shrinker can empty.
        s_reclaimable = b"SReclaimable",
        /// The rest of the slab, large kmallocs included.
        s_unreclaim = b"SUnreclaim",
        /// Kernel stacks of all threads.
        kernel_stack = b"KernelStack",
        /// Page tables of processes.
        page_tables = b"PageTables",
        /// Page tables of KVM guests and IOMMUs.
        sec_page_tables = b"SecPageTables",
        /// Bounce buffers of block devices.
        bounce = b"Bounce",
        /// FUSE's copies of pages under writeback.
        writeback_tmp = b"WritebackTmp",
        /// What may be committed under strict overcommit.
        commit_limit = b"CommitLimit",
        /// What is committed.
        committed_as = b"Committed_AS",
        /// Pages held by vmalloc, thread stacks included where those are mapped there.
        vmalloc_used = b"VmallocUsed",
        /// The per-CPU allocator's pages, the boot-time first chunk included.
        percpu = b"Percpu",
        /// Taken out of use by memory errors.
        hardware_corrupted = b"HardwareCorrupted",
        /// Of `anon_pages`: in huge pages.
        anon_huge_pages = b"AnonHugePages",
        /// Of `shmem`: in huge pages.
        shmem_huge_pages = b"ShmemHugePages",
        /// Of the page cache: in huge pages.
        file_huge_pages = b"FileHugePages",
        /// Reserved for contiguous allocation.
        cma_total = b"CmaTotal",
        /// Of `mem_free`: in contiguous-allocation areas.
        cma_free = b"CmaFree",
        /// Of `mem_free`: not yet accepted by a confidential guest.
        unaccepted = b"Unaccepted",
        /// Given back to the hypervisor by a balloon driver.
        balloon = b"Balloon",
        /// Pages that a GPU driver uses.
        gpu_active = b"GPUActive",
        /// Pages that a GPU driver keeps for reuse.
        gpu_reclaim = b"GPUReclaim",
        /// The default huge page's size.
        hugepagesize = b"Hugepagesize",
        /// All huge page pools, of every size.
        hugetlb = b"Hugetlb",
        [u64 = u64::from]
        /// Huge pages of the default size in the pool.
        huge_pages_total = b"HugePages_Total",
        /// Of those, unused.
        huge_pages_free = b"HugePages_Free",
        /// Of those free, promised.
        huge_pages_rsvd = b"HugePages_Rsvd",
        /// Beyond the configured pool.
        huge_pages_surp = b"HugePages_Surp",
    }
}

impl Meminfo {
    /// Reads the whole file; lines of any other form are passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut meminfo = Self::default();
        for (key, value) in lines(text).filter_map(key_value) {
            if let Some(value) = words(value).next().and_then(number) {
                meminfo.set(key, value);
            }
        }
        meminfo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let meminfo = Meminfo::parse(include_bytes!("../fixtures/meminfo-6.18.txt"));
        assert_eq!(meminfo.mem_total, Some(Bytes::from_kib(24_684_096)));
        assert_eq!(meminfo.hugepagesize, Some(Bytes::from_mib(2)));
        assert_eq!(meminfo.huge_pages_total, Some(0));
        assert_eq!(meminfo.zswap, Some(Bytes::ZERO));
        assert_eq!(meminfo.cma_total, None);
    }

    #[test]
    fn what_is_not_known_is_kept_and_what_is_broken_passed_over() {
        let meminfo =
            Meminfo::parse(b"MemTotal: -1 kB\nNewThing:  7 kB\nMemFree\nMemFree: 2 kB\nShmem:\n");
        assert_eq!(meminfo.mem_total, None);
        assert_eq!(meminfo.mem_free, Some(Bytes(2048)));
        assert_eq!(meminfo.unknown, [(b"NewThing"[..].into(), 7)]);
    }
}
