//! The table of owners: their stable ids, their names, and one line of plain words each.

/// One owner, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRow {
    /// Stable: part of the interface.
    pub id: &'static str,
    /// Its name in a table.
    pub name: &'static str,
    /// What it is and what makes it grow, in one line (`look --explain`).
    pub words: &'static str,
    /// Whether the kernel can take it back under pressure, swap aside.
    pub reclaimable: bool,
}

const fn row(id: &'static str, name: &'static str, words: &'static str) -> OwnerRow {
    OwnerRow {
        id,
        name,
        words,
        reclaimable: false,
    }
}

const fn reclaimable(id: &'static str, name: &'static str, words: &'static str) -> OwnerRow {
    OwnerRow {
        id,
        name,
        words,
        reclaimable: true,
    }
}

/// Every owner there is; each slab cache shown by name is `slab.NAME` and shares the row `slab`.
#[rustfmt::skip]
pub const OWNERS: &[OwnerRow] = &[
    reclaimable("free", "free", "nobody's: ready to be given out at once"),
    reclaimable("pcp", "per-CPU free lists", "free too, but kept at hand by one CPU; the kernel's count of free memory leaves it out"),
    row("anon", "anonymous", "what programs allocated for themselves: heaps, stacks, private copies; only swap can take it from a living process"),
    row("shmem", "shared memory and tmpfs", "tmpfs files, SysV and POSIX shared memory, memfds; it stays until the file is removed and closed, or goes to swap"),
    reclaimable("page_cache", "file cache", "file contents kept in RAM; dropped when memory is wanted, once what is dirty has been written"),
    reclaimable("buffers", "buffers", "cache of block devices: file system metadata and raw disk reads"),
    reclaimable("swap_cache", "swap cache", "pages in swap and in RAM at once that no process maps at the moment"),
    row("secretmem", "secret memory", "memfd_secret: memory that even the kernel cannot read; never swapped"),
    row("slab", "slab", "the kernel's objects of one kind"),
    reclaimable("slab_reclaimable", "reclaimable slab", "the kernel's objects that it can drop, above all names and inodes of files; root sees them by kind"),
    row("slab_unreclaimable", "other slab", "the kernel's objects that are in use; root sees them by kind"),
    row("slab.other", "other slab caches", "the kernel's smaller object caches together"),
    row("kmalloc_large", "large kmallocs", "kernel allocations too large for an object cache; counted as slab, named in no cache"),
    row("page_tables", "page tables", "the maps from virtual to physical memory; they grow with what processes map, and once more with every process that maps it"),
    row("sec_page_tables", "secondary page tables", "the same for KVM guests and IOMMUs"),
    row("kernel_stacks", "kernel stacks", "one for every thread of every process"),
    row("vmalloc", "vmalloc", "large kernel tables: BPF maps and programs, modules, network and file system tables"),
    row("percpu", "per-CPU data", "kernel data with one copy for each CPU: counters of cgroups, mounts and network devices, BPF maps"),
    row("hugetlb", "huge page pool", "reserved for programs that ask for huge pages by name; of no use to anybody else, also when unused"),
    row("zram", "zram", "compressed pages of zram devices: swap that lives in RAM"),
    row("zswap", "zswap", "compressed pages kept in front of the swap device"),
    row("balloon", "balloon", "given back to the hypervisor, for now"),
    row("memmap", "page descriptors", "the kernel's notes about each page, for memory added after boot"),
    reclaimable("misc_reclaimable", "other reclaimable", "kernel memory outside the slab that its owners give back on request"),
    row("boot_tables", "boot tables", "hash tables for network and mounts, sized by RAM when the host booted"),
    row("bounce", "bounce buffers", "copies for devices that cannot reach all of RAM"),
    row("writeback_tmp", "FUSE writeback copies", "copies of pages on their way to a FUSE file system"),
    row("hardware_corrupted", "broken RAM", "pages taken out of use because the hardware reported errors in them"),
    row("gpu", "GPU", "pages that graphics drivers hold or keep for reuse"),
    row("pipe_buffers", "pipe buffers", "data written into pipes and not yet read; no kernel counter names it"),
    row("socket_buffers", "socket buffers", "data in sockets, sent and not yet received or read; no kernel counter names it"),
    row("packet_rings", "packet rings", "rings that packet captures share with the kernel; no kernel counter names them"),
];

/// The row of an owner; `slab.NAME` finds the row of all slab caches.
#[must_use]
pub fn row_of(id: &str) -> Option<&'static OwnerRow> {
    let exact = OWNERS.iter().find(|row| row.id == id);
    exact.or_else(|| {
        id.starts_with("slab.").then_some(())?;
        OWNERS.iter().find(|row| row.id == "slab")
    })
}

/// What an owner is, in one line of plain words.
#[must_use]
pub fn words_of(id: &str) -> Option<&'static str> {
    row_of(id).map(|row| row.words)
}
