//! From a sample to owners that do not overlap and, with what is left over, sum to `MemTotal`.

use super::counters::Counters;
use super::figures::{FIGURES, Figure};
use super::owners::row_of;
use super::unseen::UNSEEN;
use super::{Accounted, Discovered, slab};
use crate::look::{Host, Owner, Unseen};
use plimsoll_proc::host::HostSample;
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;

/// No machine addresses more RAM than this (57-bit physical addresses): a larger `MemTotal` is not believed.
const MOST_RAM: Bytes = Bytes(1 << 57);

/// Who owns every page of the host that was sampled.
#[must_use]
pub fn account(sample: &HostSample<'_>, discovered: &Discovered) -> Accounted {
    let counters = Counters::of(sample);
    let mut book = Book::new(counters.total.min(MOST_RAM));
    for (id, figure) in FIGURES {
        if let Some(figure) = figure(&counters, discovered) {
            book.enter(id, figure);
        }
    }
    for (id, figure) in slab::by_cache(&counters) {
        book.enter(&id, figure);
    }
    for outside in &discovered.outside {
        book.enter(outside.id, Figure::from(outside));
    }
    let unseen = UNSEEN.iter().filter(|row| (row.is_missing)(&counters));
    book.unseen.extend(unseen.map(|row| row.line()));
    book.close()
}

/// The owners as they are entered.
struct Book {
    total: Bytes,
    owners: Vec<Owner>,
    unseen: Vec<Unseen>,
}

impl Book {
    fn new(total: Bytes) -> Self {
        Self {
            total,
            owners: Vec::new(),
            unseen: Vec::new(),
        }
    }

    /// Enters an owner; a figure beyond all of RAM (some GPU drivers give such) is told and left out.
    fn enter(&mut self, id: &str, figure: Figure) {
        let row = row_of(id);
        if figure.bytes > self.total {
            self.unseen.push(Unseen {
                what: row.map_or(id, |row| row.name).to_owned(),
                why: format!(
                    "the kernel says {}, more than the host has; left out",
                    figure.bytes
                ),
            });
            return;
        }
        let cache = id.strip_prefix("slab.").filter(|name| *name != "other");
        let name = match (cache, row) {
            (Some(cache), _) => format!("slab {}", printable(cache.as_bytes())),
            (None, Some(row)) => row.name.to_owned(),
            (None, None) => id.to_owned(),
        };
        self.owners.push(Owner {
            id: id.to_owned(),
            name,
            bytes: figure.bytes,
            exactness: figure.exactness,
            reclaimable: cache.map_or(row.is_some_and(|row| row.reclaimable), slab::is_reclaimable),
            detail: figure.detail,
        });
    }

    fn close(mut self) -> Accounted {
        self.owners
            .sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.id.cmp(&b.id)));
        let owned: Bytes = self.owners.iter().map(|owner| owner.bytes).sum();
        Accounted {
            host: Host {
                total_bytes: self.total,
                owners: self.owners,
                unattributed_bytes: self.total.signed_sub(owned),
                slab_caches: Vec::new(),
            },
            unseen: self.unseen,
        }
    }
}
