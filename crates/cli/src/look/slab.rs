//! The kernel's object caches for people.

use super::host::marked;
use crate::table::{Align, Table, paragraph};
use crate::terminal::Terminal;
use plimsoll_ledger::look::{Host, Owner};
use plimsoll_units::Bytes;

/// Each cache with its objects, biggest first; what of them is known, where they may not be read one by one.
pub(super) fn view(host: &Host, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("IN USE", Align::Right),
        ("OBJECTS", Align::Right),
        ("OBJECT SIZE", Align::Right),
        ("", Align::Left),
        ("CACHE", Align::Left),
    ]);
    for cache in &host.slab_caches {
        table.row([
            cache.bytes.into(),
            in_use(cache.active_objects, cache.objects).into(),
            cache.active_objects.into(),
            cache.object_size_bytes.into(),
            reclaimable(cache.reclaimable).into(),
            cache.name.as_str().into(),
        ]);
    }
    let owners: Vec<_> = host.owners.iter().filter(is_slab).collect();
    let whole = |owner: &&&Owner| host.slab_caches.is_empty() || owner.id == "kmalloc_large";
    for owner in owners.iter().filter(whole) {
        table.row([
            marked(owner.bytes, owner.exactness).into(),
            "".into(),
            "".into(),
            "".into(),
            reclaimable(owner.reclaimable).into(),
            owner.name.as_str().into(),
        ]);
    }
    let sum: Bytes = owners.iter().map(|owner| owner.bytes).sum();
    let blank = || "".into();
    table.foot([
        sum.into(),
        blank(),
        blank(),
        blank(),
        blank(),
        "all of the slab".into(),
    ]);
    let legend = paragraph(LEGEND, terminal);
    table.render(terminal, legend.lines().count() + 1) + &legend
}

const LEGEND: &str = "\
OBJECTS are those in use, and IN USE their part of all that the cache has room for: where it is low, slabs are kept by few objects each.
r: the kernel can empty it under pressure.
";

fn is_slab(owner: &&Owner) -> bool {
    owner.id.starts_with("slab") || owner.id == "kmalloc_large"
}

fn reclaimable(yes: bool) -> &'static str {
    if yes { "r" } else { "" }
}

fn in_use(active: u64, all: u64) -> String {
    let percent = active.saturating_mul(100).checked_div(all);
    percent.map_or_else(String::new, |percent| format!("{percent}%"))
}
