//! The kernel's running page counters (`enum zone_stat_item`, `enum node_stat_item`, `include/linux/mmzone.h`), as
//! `/proc/vmstat` shows them for the host and `/proc/zoneinfo` for each node and zone.
//!
//! Every CPU keeps small differences of its own and folds them in about once a second, so a counter may lag
//! by its threshold times the number of CPUs (`vm stats threshold` in `/proc/zoneinfo`; `refresh_zone_stat_thresholds`).

use crate::counters::counters;
use plimsoll_units::{Bytes, Pages};

counters! {
    /// Page counters; `None` for one that this kernel lacks or keeps elsewhere (per node, per zone).
    pub struct PageCounters {
        [Pages = Pages]
        /// Free in the buddy lists, without the per-CPU lists.
        nr_free_pages = b"nr_free_pages",
        /// Anonymous, shared memory included, less recently used.
        nr_inactive_anon = b"nr_inactive_anon",
        /// Anonymous, shared memory included, recently used.
        nr_active_anon = b"nr_active_anon",
        /// File pages less recently used.
        nr_inactive_file = b"nr_inactive_file",
        /// File pages recently used.
        nr_active_file = b"nr_active_file",
        /// Passed over by reclaim.
        nr_unevictable = b"nr_unevictable",
        /// Taken off the LRU lists for a while.
        nr_isolated_anon = b"nr_isolated_anon",
        /// Taken off the LRU lists for a while.
        nr_isolated_file = b"nr_isolated_file",
        /// Reclaimable slab.
        nr_slab_reclaimable = b"nr_slab_reclaimable",
        /// Other slab, large kmallocs included.
        nr_slab_unreclaimable = b"nr_slab_unreclaimable",
        /// Anonymous pages that are mapped.
        nr_anon_pages = b"nr_anon_pages",
        /// File pages that are mapped.
        nr_mapped = b"nr_mapped",
        /// Page cache: files, block devices, shared memory, swap cache.
        nr_file_pages = b"nr_file_pages",
        /// Of the page cache: dirty.
        nr_dirty = b"nr_dirty",
        /// Of the page cache: under writeback.
        nr_writeback = b"nr_writeback",
        /// Of the page cache: FUSE's copies under writeback.
        nr_writeback_temp = b"nr_writeback_temp",
        /// Of the page cache: shared memory.
        nr_shmem = b"nr_shmem",
        /// Of the page cache: swap cache.
        nr_swapcached = b"nr_swapcached",
        /// Reclaimable kernel memory that is no slab.
        nr_kernel_misc_reclaimable = b"nr_kernel_misc_reclaimable",
        /// Page tables of processes.
        nr_page_table_pages = b"nr_page_table_pages",
        /// Page tables of KVM guests and IOMMUs.
        nr_sec_page_table_pages = b"nr_sec_page_table_pages",
        /// Bounce buffers.
        nr_bounce = b"nr_bounce",
        /// zsmalloc's pages: zram, and zswap where it uses zsmalloc.
        nr_zspages = b"nr_zspages",
        /// Free in contiguous-allocation areas.
        nr_free_cma = b"nr_free_cma",
        /// In a balloon.
        nr_balloon_pages = b"nr_balloon_pages",
        /// `struct page`s and their like taken from the page allocator after boot.
        nr_memmap_pages = b"nr_memmap_pages",
        /// The same taken before the page allocator ran.
        nr_memmap_boot_pages = b"nr_memmap_boot_pages",
        [Bytes = Bytes::from_kib]
        /// Kernel stacks: the one counter in KiB.
        nr_kernel_stack = b"nr_kernel_stack",
    }
}
