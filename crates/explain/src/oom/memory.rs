//! Where memory was: the figures of a report made into owners that do not overlap, with the ids and names of the ledger.
//!
//! `pages RAM` less `pages reserved` is `MemTotal`. What the report's counters leave of it is `unattributed_bytes`: vmalloc,
//! per-CPU data, the buffers of pipes and sockets, and pages that drivers took for themselves stand in no line of a report.

use super::{Part, request};
use crate::report::{Keyed, Report};
use plimsoll_ledger::host::row_of;
use plimsoll_ledger::look::{Exactness, Owner};
use plimsoll_units::{Bytes, PageSize, Pages};
use serde::Serialize;

/// Who owned every page when the report was printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memory {
    /// `MemTotal`.
    pub total_bytes: Bytes,
    /// Biggest first; ids as in `plimsoll.look/1`.
    pub owners: Vec<Owner>,
    /// What no line of the report names.
    pub unattributed_bytes: i64,
}

impl Memory {
    /// What an owner has.
    #[must_use]
    pub fn of(&self, id: &str) -> Bytes {
        self.owners
            .iter()
            .find(|owner| owner.id == id)
            .map(|owner| owner.bytes)
            .unwrap_or_default()
    }

    /// The unreclaimable slab, by name or not.
    #[must_use]
    pub fn unreclaimable_slab(&self) -> Bytes {
        let of_slab =
            |owner: &&Owner| owner.id == "slab_unreclaimable" || owner.id.starts_with("slab.");
        self.owners
            .iter()
            .filter(of_slab)
            .map(|owner| owner.bytes)
            .sum()
    }
}

/// Caches from this size on are owners by name.
const BIG_CACHE: Bytes = Bytes::from_mib(1);

/// The size of a page, as the report has it: the smallest free block, or what makes pages of one line and kB of another agree.
/// Of a list of blocks that is cut the smallest may be missing, so that it is asked last.
#[must_use]
pub fn page_size(report: &Report) -> Option<PageSize> {
    of_blocks(report, false)
        .or_else(|| of_free(report))
        .or_else(|| of_tasks(report))
        .or_else(|| of_blocks(report, true))
}

fn of_blocks(report: &Report, are_cut: bool) -> Option<PageSize> {
    let zones = report
        .zones
        .iter()
        .filter(|zone| zone.blocks_are_cut == are_cut);
    let smallest = zones
        .filter_map(|zone| zone.blocks.first())
        .map(|blocks| blocks.kb)
        .min()?;
    PageSize::new(smallest.saturating_mul(1024))
}

/// All free memory is told in pages, and zone by zone in kB, a moment apart.
fn of_free(report: &Report) -> Option<PageSize> {
    let pages = *report.totals.get("free")?;
    let kb = report
        .zones
        .iter()
        .filter_map(|zone| zone.kb.get("free"))
        .fold(0u64, |sum, kb| sum.saturating_add(*kb));
    let ratio = kb.checked_div(pages)?;
    // to the nearest power of two
    let below = 1u64.checked_shl(ratio.checked_ilog2()?)?;
    let nearest = if ratio - below > below / 2 {
        below.saturating_mul(2)
    } else {
        below
    };
    PageSize::new(nearest.saturating_mul(1024))
}

/// The same task in the table, in pages, and in the line of its end, in kB.
fn of_tasks(report: &Report) -> Option<PageSize> {
    let kills = report.kills.iter();
    let mut sizes = kills.filter_map(|kill| {
        let task = report.tasks.iter().find(|task| task.pid == kill.pid)?;
        let kb = kill
            .kb
            .get("total-vm")?
            .checked_div(*task.columns.get("total_vm")?)?;
        PageSize::new(kb.saturating_mul(1024))
    });
    sizes.next()
}

/// The account; `None` where the report does not say how much there is.
pub(super) fn of(report: &Report, page: PageSize) -> Option<Memory> {
    let count = |what: &str| report.page_counts.get(what).copied();
    let of_all = count("ram").zip(count("reserved"));
    let total = match of_all {
        Some((ram, reserved)) => Pages(ram.saturating_sub(reserved)).bytes(page),
        None => managed(report)?,
    };
    if report.totals.is_empty() {
        return None;
    }
    let mut book = Book {
        report,
        page,
        owners: Vec::new(),
    };
    book.enter_all();
    book.owners.retain(|owner| owner.bytes > Bytes::ZERO);
    book.owners
        .sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.id.cmp(&b.id)));
    let owned: Bytes = book.owners.iter().map(|owner| owner.bytes).sum();
    Some(Memory {
        total_bytes: total,
        owners: book.owners,
        unattributed_bytes: total.signed_sub(owned),
    })
}

/// What all zones together give to the page allocator; `None` unless each says.
fn managed(report: &Report) -> Option<Bytes> {
    let zones = report
        .zones
        .iter()
        .map(|zone| zone.kb.get("managed").map(|kb| Bytes::from_kib(*kb)));
    let all: Vec<Bytes> = zones.collect::<Option<_>>()?;
    (!all.is_empty()).then(|| all.into_iter().sum())
}

struct Book<'a> {
    report: &'a Report,
    page: PageSize,
    owners: Vec<Owner>,
}

impl Book<'_> {
    fn enter_all(&mut self) {
        self.enter("free", self.total("free"));
        self.enter(
            "pcp",
            self.total("free_pcp").or(self
                .report
                .per_cpu_pages
                .map(|pages| Pages(pages).bytes(self.page))),
        );
        self.enter_users();
        self.enter_slab();
        self.enter("page_tables", self.total("pagetables"));
        self.enter("sec_page_tables", self.total("sec_pagetables"));
        self.enter("kernel_stacks", self.kb_of_nodes_or_zones("kernel_stack"));
        self.enter("misc_reclaimable", self.total("kernel_misc_reclaimable"));
        self.enter("bounce", self.total("bounce"));
        self.enter("writeback_tmp", self.kb_of_nodes_or_zones("writeback_tmp"));
        self.enter("balloon", self.kb_of_nodes_or_zones("balloon"));
        self.enter("hugetlb", self.hugetlb());
        let broken = self
            .report
            .page_counts
            .get("hwpoisoned")
            .map(|pages| Pages(*pages).bytes(self.page));
        self.enter("hardware_corrupted", broken);
    }

    /// The LRU lists hold anonymous memory, shared memory and page cache; how much of it is page cache is counted apart.
    fn enter_users(&mut self) {
        const LISTS: [&str; 7] = [
            "active_anon",
            "inactive_anon",
            "isolated_anon",
            "active_file",
            "inactive_file",
            "isolated_file",
            "unevictable",
        ];
        let listed: Bytes = LISTS.iter().filter_map(|list| self.total(list)).sum();
        let shmem = self.total("shmem").unwrap_or_default();
        self.enter("shmem", Some(shmem));
        match self
            .report
            .page_counts
            .get("pagecache")
            .map(|pages| Pages(*pages).bytes(self.page))
        {
            Some(cached) => {
                self.enter("page_cache", Some(cached - shmem));
                self.enter("anon", Some(listed - cached));
            }
            None => {
                let files: Bytes = LISTS[3..6].iter().filter_map(|list| self.total(list)).sum();
                self.enter_inferred("page_cache", files);
                self.enter_inferred("anon", listed - files - shmem);
            }
        }
    }

    /// By name as far as the table goes, which is printed only where it matters.
    fn enter_slab(&mut self) {
        self.enter("slab_reclaimable", self.total("slab_reclaimable"));
        let mut rest = self
            .total("slab_unreclaimable")
            .or(self.total("slab"))
            .unwrap_or_default();
        for cache in &self.report.slab {
            let bytes = Bytes::from_kib(cache.total_kb).min(rest);
            if bytes >= BIG_CACHE {
                rest = rest - bytes;
                self.owners.push(Owner {
                    id: format!("slab.{}", cache.name),
                    name: format!("slab {}", cache.name),
                    bytes,
                    exactness: Exactness::Exact,
                    reclaimable: false,
                    detail: Vec::new(),
                });
            }
        }
        self.enter("slab_unreclaimable", Some(rest));
    }

    fn hugetlb(&self) -> Option<Bytes> {
        let pools = self.report.hugepages.iter();
        Some(
            pools
                .map(|pool| Bytes::from_kib(pool.kb.saturating_mul(pool.total)))
                .sum(),
        )
    }

    fn total(&self, key: &str) -> Option<Bytes> {
        self.report
            .totals
            .get(key)
            .map(|pages| Pages(*pages).bytes(self.page))
    }

    fn kb_of_nodes_or_zones(&self, key: &str) -> Option<Bytes> {
        let sum = |counters: &mut dyn Iterator<Item = &Keyed>| {
            counters
                .filter_map(|kb| kb.get(key))
                .map(|kb| Bytes::from_kib(*kb))
                .reduce(|a, b| a + b)
        };
        sum(&mut self.report.nodes.iter().map(|node| &node.kb))
            .or_else(|| sum(&mut self.report.zones.iter().map(|zone| &zone.kb)))
    }

    fn enter(&mut self, id: &str, bytes: Option<Bytes>) {
        self.enter_as(id, bytes.unwrap_or_default(), Exactness::Exact);
    }

    fn enter_inferred(&mut self, id: &str, bytes: Bytes) {
        self.enter_as(id, bytes, Exactness::Inferred);
    }

    fn enter_as(&mut self, id: &str, bytes: Bytes, exactness: Exactness) {
        let row = row_of(id);
        self.owners.push(Owner {
            id: id.to_owned(),
            name: row.map_or(id, |row| row.name).to_owned(),
            bytes,
            exactness,
            reclaimable: row.is_some_and(|row| row.reclaimable),
            detail: Vec::new(),
        });
    }
}

/// What a control group holds by kind: keys of `memory.stat` that do not overlap, v2's or v1's.
const GROUP_PARTS: [(&str, &str); 12] = [
    ("anon", "anonymous"),
    ("shmem", "shared memory and tmpfs"),
    ("slab_reclaimable", "reclaimable slab"),
    ("slab_unreclaimable", "other slab"),
    ("sock", "socket buffers"),
    ("pagetables", "page tables"),
    ("kernel_stack", "kernel stacks"),
    ("percpu", "per-CPU data"),
    ("vmalloc", "vmalloc"),
    ("zswap", "zswap"),
    ("rss", "anonymous"),
    ("hugetlb", "huge pages"),
];

/// A group's `memory.stat` begins with what programs hold; without it any other figure would look like the biggest.
pub(super) fn is_cut(stat: &Keyed) -> bool {
    !["anon", "rss"].iter().any(|key| stat.contains_key(*key))
}

/// A group's memory by kind, biggest first.
pub(super) fn group_parts(stat: &Keyed) -> Vec<Part> {
    if is_cut(stat) {
        return Vec::new();
    }
    let parts = GROUP_PARTS
        .iter()
        .filter_map(|(key, name)| Some(request::part(name, Bytes(*stat.get(*key)?))));
    let mut parts: Vec<_> = parts.collect();
    // `file` and `cache` include shared memory
    let shmem = Bytes(stat.get("shmem").copied().unwrap_or(0));
    if let Some(files) = stat.get("file").or(stat.get("cache")) {
        parts.push(request::part("file cache", Bytes(*files) - shmem));
    }
    parts.retain(|part| part.bytes > Bytes::ZERO);
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    parts
}
