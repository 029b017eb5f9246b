//! The slab by cache: the big ones by name, the rest together, and what is in no cache.

use super::counters::Counters;
use super::figures::Figure;
use crate::look::{Detail, Exactness, SlabCache};
use plimsoll_proc::host::HostSample;
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A cache is big from this size, or this part of RAM where that is more.
const BIG: Bytes = Bytes::from_mib(1);
const BIG_PART_OF_RAM: u64 = 1 << 14;

/// So many of the smaller caches are named as parts of the rest.
const NAMED_SMALL: usize = 10;

/// What a shrinker can empty: names, or parts of them, of caches made with `SLAB_RECLAIM_ACCOUNT`.
const RECLAIMABLE: [&str; 6] = [
    "dentry",
    "inode",
    "buffer_head",
    "radix_tree_node",
    "kmalloc-rcl",
    "extent_status",
];

/// Whether the kernel can take a cache of this name back under pressure.
pub(super) fn is_reclaimable(cache: &str) -> bool {
    RECLAIMABLE.iter().any(|part| cache.contains(part))
}

/// The owners that the slab is made of; its two kinds, where caches may not be read or exceed all of RAM.
pub(super) fn by_cache(c: &Counters<'_>) -> Vec<(String, Figure)> {
    let families = families(c.sample);
    let caches: Bytes = families.values().map(|cache| cache.bytes).sum();
    if families.is_empty() || caches > c.total {
        return by_kind(c);
    }
    let limit = BIG.max(Bytes(c.total.get() / BIG_PART_OF_RAM));
    let sizes = families
        .into_iter()
        .map(|(name, cache)| (name, cache.bytes));
    let (big, small): (Vec<_>, Vec<_>) = sizes.partition(|(_, bytes)| *bytes >= limit);
    let mut owners: Vec<_> = big
        .into_iter()
        .map(|(name, bytes)| {
            (
                format!("slab.{}", printable(&name)),
                Figure::new(bytes, Exactness::Exact),
            )
        })
        .collect();
    owners.push(("slab.other".to_owned(), others(small)));
    if let Some(slab) = c.slab() {
        let in_no_cache = Figure::new(slab - caches, Exactness::Inferred);
        owners.push(("kmalloc_large".to_owned(), in_no_cache));
    }
    owners
}

/// The two kinds that everybody may see.
fn by_kind(c: &Counters<'_>) -> Vec<(String, Figure)> {
    let kinds = [
        ("slab_reclaimable", c.slab_reclaimable()),
        ("slab_unreclaimable", c.slab_unreclaimable()),
    ];
    let known = kinds
        .into_iter()
        .filter_map(|(id, bytes)| Some((id.to_owned(), Figure::new(bytes?, Exactness::Exact))));
    known.collect()
}

fn others(mut small: Vec<(Cow<'_, [u8]>, Bytes)>) -> Figure {
    let sum = small.iter().map(|(_, bytes)| *bytes).sum();
    small.retain(|(_, bytes)| *bytes > Bytes::ZERO);
    small.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let named = small.iter().take(NAMED_SMALL).map(|(name, bytes)| Detail {
        name: printable(name).into_owned(),
        bytes: *bytes,
    });
    Figure::new(sum, Exactness::Exact).with(named.collect())
}

/// Every cache that holds anything, biggest first; none where they may not be read.
#[must_use]
pub fn slab_caches(sample: &HostSample<'_>) -> Vec<SlabCache> {
    let shown = |(name, family): (Cow<'_, [u8]>, Family)| SlabCache {
        reclaimable: is_reclaimable(&printable(&name)),
        name: printable(&name).into_owned(),
        bytes: family.bytes,
        active_objects: family.active_objects,
        objects: family.objects,
        object_size_bytes: family.object_size,
    };
    let mut caches: Vec<_> = families(sample).into_iter().map(shown).collect();
    caches.retain(|cache| cache.bytes > Bytes::ZERO);
    caches.sort_by(|one, two| (two.bytes, &one.name).cmp(&(one.bytes, &two.name)));
    caches
}

/// One cache, or several that are one thing under several names.
#[derive(Debug, Default)]
struct Family {
    bytes: Bytes,
    active_objects: u64,
    objects: u64,
    object_size: Bytes,
}

fn families<'a>(sample: &HostSample<'a>) -> BTreeMap<Cow<'a, [u8]>, Family> {
    let mut families: BTreeMap<_, Family> = BTreeMap::new();
    for cache in sample.caches().into_iter().flatten() {
        let family = families.entry(family(cache.name)).or_default();
        family.bytes += cache.bytes(sample.page);
        family.active_objects = family.active_objects.saturating_add(cache.active_objects);
        family.objects = family.objects.saturating_add(cache.objects);
        family.object_size = cache.object_size;
    }
    families
}

/// `kmalloc-64` for `kmalloc-rnd-07-64`: since Linux 6.6 a hardened kernel spreads equal sizes over sixteen caches.
fn family(name: &[u8]) -> Cow<'_, [u8]> {
    let size = name
        .strip_prefix(b"kmalloc-rnd-")
        .and_then(|rest| rest.splitn(2, |byte| *byte == b'-').nth(1));
    size.map_or(Cow::Borrowed(name), |size| {
        Cow::Owned([b"kmalloc-", size].concat())
    })
}
