//! How each owner's figure is made of the kernel's counters: where they overlap, the overlap is given to one.
//!
//! Sources: `mm/show_mem.c`, `fs/proc/meminfo.c`, and what each function names.

use super::counters::Counters;
use super::{Discovered, Outside};
use crate::look::{Detail, Exactness};
use plimsoll_proc::host::Free;
use plimsoll_proc::text::printable;
use plimsoll_proc::vmallocinfo::is_stack_maker;
use plimsoll_units::Bytes;

/// What an owner has, and how well that is known.
pub(super) struct Figure {
    pub(super) bytes: Bytes,
    pub(super) exactness: Exactness,
    pub(super) detail: Vec<Detail>,
}

type FigureOf = fn(&Counters<'_>, &Discovered) -> Option<Figure>;

/// How the figure of each owner is made; slab caches (`slab`) and what is outside all counters aside.
pub(super) const FIGURES: &[(&str, FigureOf)] = &[
    ("free", |c, _| free(c)),
    ("pcp", |c, _| c.per_cpu_lists().map(exact)),
    ("anon", |c, _| anon(c).map(exact)),
    ("shmem", |c, found| {
        shmem(c)
            .map(exact)
            .map(|figure| figure.with(found.shmem.clone()))
    }),
    ("page_cache", page_cache),
    ("buffers", |c, _| c.meminfo().buffers.map(exact)),
    ("swap_cache", |c, _| swap_cache(c)),
    ("secretmem", |_, found| secretmem(found)),
    ("page_tables", |c, _| {
        c.node_or_zone(|n| n.nr_page_table_pages)
            .or(c.meminfo().page_tables)
            .map(exact)
    }),
    ("sec_page_tables", |c, _| {
        c.node(|n| n.nr_sec_page_table_pages)
            .or(c.meminfo().sec_page_tables)
            .map(exact)
    }),
    ("kernel_stacks", |c, _| c.kernel_stacks().map(exact)),
    ("vmalloc", |c, _| vmalloc(c)),
    ("percpu", |c, _| percpu(c)),
    ("hugetlb", |c, _| hugetlb(c)),
    ("zram", |c, _| zram(c)),
    ("zswap", |c, _| zswap(c)),
    ("balloon", |c, _| balloon(c)),
    ("memmap", |c, _| memmap(c)),
    ("misc_reclaimable", |c, _| misc_reclaimable(c).map(exact)),
    ("boot_tables", |c, _| boot_tables(c)),
    ("bounce", |c, _| {
        c.zone(|z| z.counters.nr_bounce)
            .or(c.meminfo().bounce)
            .map(exact)
    }),
    ("writeback_tmp", |c, _| {
        c.node(|n| n.nr_writeback_temp)
            .or(c.meminfo().writeback_tmp)
            .map(exact)
    }),
    ("hardware_corrupted", |c, _| {
        c.meminfo().hardware_corrupted.map(exact)
    }),
    ("gpu", |c, _| gpu(c)),
];

fn exact(bytes: Bytes) -> Figure {
    Figure {
        bytes,
        exactness: Exactness::Exact,
        detail: Vec::new(),
    }
}

fn inferred(bytes: Bytes) -> Figure {
    Figure {
        exactness: Exactness::Inferred,
        ..exact(bytes)
    }
}

impl Figure {
    pub(super) fn new(bytes: Bytes, exactness: Exactness) -> Self {
        Self {
            exactness,
            ..exact(bytes)
        }
    }

    pub(super) fn with(self, detail: Vec<Detail>) -> Self {
        Self { detail, ..self }
    }

    /// With those parts that are there and not empty.
    fn with_parts<const N: usize>(self, parts: [(&str, Option<Bytes>); N]) -> Self {
        let parts = parts.into_iter().filter_map(|(name, bytes)| {
            Some(Detail {
                name: name.to_owned(),
                bytes: bytes.filter(|bytes| *bytes > Bytes::ZERO)?,
            })
        });
        let detail = parts.collect();
        self.with(detail)
    }
}

impl From<&Outside> for Figure {
    fn from(outside: &Outside) -> Self {
        Self::new(outside.bytes, outside.exactness).with(outside.detail.clone())
    }
}

/// Free in the buddy lists of all zones, and what no zone has yet.
fn free(c: &Counters<'_>) -> Option<Figure> {
    let meminfo = c.meminfo();
    let free = c.free();
    let bytes = free.map(Free::bytes).or(meminfo.mem_free)?;
    Some(exact(bytes).with_parts([
        ("not yet initialised", free.map(|free| free.uninitialised)),
        ("in contiguous-allocation areas", meminfo.cma_free),
        ("not yet accepted from the hypervisor", meminfo.unaccepted),
    ]))
}

/// Anonymous pages that are mapped; those that are in swap as well are counted here, not as swap cache.
fn anon(c: &Counters<'_>) -> Option<Bytes> {
    c.node(|n| n.nr_anon_pages).or(c.meminfo().anon_pages)
}

fn shmem(c: &Counters<'_>) -> Option<Bytes> {
    c.node(|n| n.nr_shmem).or(c.meminfo().shmem)
}

/// All that the page cache holds but swap cache: files, buffers, shared and secret memory.
fn cache_without_swap(c: &Counters<'_>) -> Option<Bytes> {
    let file_pages = c.node(|n| n.nr_file_pages);
    let in_swap = || {
        c.node(|n| n.nr_swapcached)
            .or(c.meminfo().swap_cached)
            .unwrap_or_default()
    };
    file_pages
        .map(|file_pages| file_pages - in_swap())
        .or_else(|| Some(c.meminfo().cached? + c.meminfo().buffers.unwrap_or_default()))
}

/// Files in the page cache.
fn page_cache(c: &Counters<'_>, found: &Discovered) -> Option<Figure> {
    let buffers = c.meminfo().buffers.unwrap_or_default();
    let secret = found
        .secretmem
        .as_ref()
        .map_or(Bytes::ZERO, |secret| secret.bytes);
    let files = cache_without_swap(c)? - buffers - shmem(c)? - secret;
    Some(exact(files).with_parts([
        (
            "changed and not yet on disk",
            c.node(|n| n.nr_dirty).or(c.meminfo().dirty),
        ),
        (
            "on its way to disk",
            c.node(|n| n.nr_writeback).or(c.meminfo().writeback),
        ),
    ]))
}

fn secretmem(found: &Discovered) -> Option<Figure> {
    let secret = found.secretmem.as_ref()?;
    Some(exact(secret.bytes).with(secret.detail.clone()))
}

/// Swap cache that nobody maps. What is mapped is in `AnonPages` too and stays there, so this is what the LRU
/// lists hold beyond the mapped anonymous pages and the rest of the page cache.
fn swap_cache(c: &Counters<'_>) -> Option<Figure> {
    let in_swap = c.node(|n| n.nr_swapcached).or(c.meminfo().swap_cached)?;
    let lists = c.nodes(|n| {
        [
            n.nr_active_anon,
            n.nr_inactive_anon,
            n.nr_active_file,
            n.nr_inactive_file,
            n.nr_unevictable,
            n.nr_isolated_anon,
            n.nr_isolated_file,
        ]
    });
    let meminfo = c.meminfo();
    let lists = lists.or_else(|| {
        Some(meminfo.active? + meminfo.inactive? + meminfo.unevictable.unwrap_or_default())
    })?;
    let elsewhere = anon(c)? + cache_without_swap(c)?;
    let unmapped = (lists - elsewhere).min(in_swap);
    Some(inferred(unmapped))
}

/// What vmalloc holds but thread stacks, by the function that asked for it.
fn vmalloc(c: &Counters<'_>) -> Option<Figure> {
    let info = c.slow().vmallocinfo.as_ref();
    let page = c.page();
    let by_area = || info.map(|info| inferred(info.pages().bytes(page)));
    // `VmallocUsed` is always 0 before Linux 5.3
    let used = c
        .meminfo()
        .vmalloc_used
        .filter(|used| *used > Bytes::ZERO)
        .map(exact);
    let used = used.or_else(by_area)?;
    let stacks = c
        .kernel_stacks()
        .filter(|_| stacks_are_mapped(c))
        .unwrap_or_default();
    let mut detail: Vec<Detail> = Vec::new();
    if let Some(info) = info {
        let callers = info
            .callers
            .iter()
            .filter(|(caller, _)| !is_stack_maker(caller));
        detail.extend(callers.map(|(caller, pages)| Detail {
            name: printable(caller).into_owned(),
            bytes: pages.bytes(page),
        }));
        let kept = info.stacks().bytes(page) - stacks;
        if kept > Bytes::ZERO {
            detail.push(Detail {
                name: "thread stacks kept for reuse".to_owned(),
                bytes: kept,
            });
        }
        detail.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    }
    let bytes = used.bytes - stacks;
    Some(Figure { bytes, ..used }.with(detail))
}

/// Whether thread stacks are in vmalloc (`CONFIG_VMAP_STACK`): most of them are to be seen there, or, where that may not
/// be read, would fit.
fn stacks_are_mapped(c: &Counters<'_>) -> bool {
    let stacks = c.kernel_stacks().unwrap_or_default();
    match &c.slow().vmallocinfo {
        Some(info) => info.stacks().bytes(c.page()) > Bytes(stacks.get() / 2),
        None => c.meminfo().vmalloc_used >= Some(stacks),
    }
}

/// Per-CPU data but its first chunk, which was set aside before there was a `MemTotal` (`pcpu_setup_first_chunk`).
fn percpu(c: &Counters<'_>) -> Option<Figure> {
    let all = c.meminfo().percpu?;
    let first_chunk = c
        .slow()
        .boot
        .as_ref()
        .and_then(|boot| boot.percpu_first_chunk);
    Some(first_chunk.map_or_else(|| inferred(all), |chunk| exact(all - chunk.bytes(c.page()))))
}

fn hugetlb(c: &Counters<'_>) -> Option<Figure> {
    let meminfo = c.meminfo();
    let size = meminfo.hugepagesize;
    let pages = |count: Option<u64>| Some(Bytes(count?.saturating_mul(size?.get())));
    let all = meminfo
        .hugetlb
        .or_else(|| pages(meminfo.huge_pages_total))?;
    Some(exact(all).with_parts([("unused", pages(meminfo.huge_pages_free))]))
}

/// zsmalloc's pages, which zram and (from one kernel configuration to another) zswap live in.
fn zspages(c: &Counters<'_>) -> Option<Bytes> {
    c.node_or_zone(|n| n.nr_zspages)
}

fn zram(c: &Counters<'_>) -> Option<Figure> {
    let devices = &c.slow().zram;
    let used: Bytes = devices.iter().map(|(_, used)| *used).sum();
    let without_zswap = c.meminfo().zswap == Some(Bytes::ZERO);
    let bytes = match zspages(c) {
        None => used,
        Some(zspages) if without_zswap => zspages,
        Some(zspages) => zspages.min(used),
    };
    let parts = devices.iter().filter(|(_, used)| *used > Bytes::ZERO);
    let detail = parts.map(|(name, used)| Detail {
        name: name.clone(),
        bytes: *used,
    });
    Some(exact(bytes).with(detail.collect()))
}

/// What zsmalloc holds beyond zram, or what zswap says where it uses another allocator, which no counter names.
fn zswap(c: &Counters<'_>) -> Option<Figure> {
    let says = c.meminfo().zswap;
    let beyond = zspages(c)
        .zip(zram(c))
        .map(|(zspages, zram)| zspages - zram.bytes);
    beyond.max(says).map(exact)
}

fn balloon(c: &Counters<'_>) -> Option<Figure> {
    let pages = c.node(|n| n.nr_balloon_pages).or(c.meminfo().balloon)?;
    Some(exact(if c.slow().balloon_in_total {
        pages
    } else {
        Bytes::ZERO
    }))
}

fn memmap(c: &Counters<'_>) -> Option<Figure> {
    let pages = c.slow().vmstat.as_ref()?.nr_memmap_pages?;
    Some(exact(pages.bytes(c.page())))
}

fn misc_reclaimable(c: &Counters<'_>) -> Option<Bytes> {
    let meminfo = c.meminfo();
    let of_nodes = c.node(|n| n.nr_kernel_misc_reclaimable);
    of_nodes.or_else(|| Some(meminfo.k_reclaimable? - meminfo.s_reclaimable?))
}

fn boot_tables(c: &Counters<'_>) -> Option<Figure> {
    let tables = &c.slow().boot.as_ref()?.tables;
    let page = c.page();
    let whole_pages = |bytes: Bytes| page.pages_for(bytes).bytes(page);
    let detail = tables.iter().map(|(name, bytes)| Detail {
        name: printable(name).into_owned(),
        bytes: whole_pages(*bytes),
    });
    let detail: Vec<_> = detail.collect();
    let sum = detail.iter().map(|table| table.bytes).sum();
    (!detail.is_empty()).then(|| inferred(sum).with(detail))
}

fn gpu(c: &Counters<'_>) -> Option<Figure> {
    let (active, reclaim) = (c.meminfo().gpu_active, c.meminfo().gpu_reclaim);
    let sum = [active, reclaim]
        .into_iter()
        .flatten()
        .reduce(|a, b| a + b)?;
    Some(exact(sum).with_parts([("kept for reuse", reclaim)]))
}
