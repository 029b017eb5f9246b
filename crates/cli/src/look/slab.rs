//! The kernel's object caches for people.

use crate::table::{Align, Table};
use crate::terminal::Terminal;
use plimsoll_ledger::look::{Host, Owner};
use plimsoll_units::Bytes;

/// Each cache that has an owner of its own, the rest, and large kmallocs; biggest first.
pub(super) fn view(host: &Host, terminal: &Terminal) -> String {
    let is_slab = |owner: &&Owner| owner.id.starts_with("slab.") || owner.id == "kmalloc_large";
    let caches: Vec<_> = host.owners.iter().filter(is_slab).collect();
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("", Align::Left),
        ("CACHE", Align::Left),
    ]);
    for cache in &caches {
        table.row([
            cache.bytes.into(),
            if cache.reclaimable { "r" } else { "" }.into(),
            cache.name.as_str().into(),
        ]);
        for part in &cache.detail {
            table.note(format!("{} {}", part.bytes, part.name));
        }
    }
    let sum: Bytes = caches.iter().map(|cache| cache.bytes).sum();
    table.foot([sum.into(), "".into(), "all caches".into()]);
    table.render(terminal, 2) + "r the kernel can take back what is not in use\n"
}
