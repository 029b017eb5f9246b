//! Which zones could have served a request, and why each could not: `__zone_watermark_ok` (`mm/page_alloc.c`) done again on
//! the figures that were printed, and the two indices of `mm/vmstat.c`.
//!
//! The figures are printed after the last try, so a zone may look better than it was.

use super::Request;
use crate::report::{self, Report};
use plimsoll_units::{Bytes, PageSize};
use serde::Serialize;

/// What one zone had to say to a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Zone {
    /// The number of its node.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub name: String,
    /// Its answer.
    pub answer: Answer,
    /// The same in words.
    pub words: String,
    /// Free.
    pub free_bytes: Bytes,
    /// What of that this request could have had, watermarks aside; `null` where the watermarks are not in the report.
    pub usable_bytes: Option<Bytes>,
    /// Watermark below which it is closed to such a request.
    pub min_bytes: Option<Bytes>,
    /// Watermark that wakes kswapd.
    pub low_bytes: Option<Bytes>,
    /// Watermark that the last try before the OOM killer asks for.
    pub high_bytes: Option<Bytes>,
    /// By how much the watermarks were raised for the moment, after blocks of unlike kinds had to be mixed.
    pub boost_bytes: Option<Bytes>,
    /// Kept from requests that a higher zone could serve.
    pub reserve_bytes: Option<Bytes>,
    /// Kept for requests that can't wait.
    pub highatomic_bytes: Option<Bytes>,
    /// Free, but for movable pages only.
    pub cma_bytes: Option<Bytes>,
    /// The biggest free piece, of any kind.
    pub largest_bytes: Option<Bytes>,
    /// Pieces that are big enough and of a kind that would do.
    pub fitting_pieces: Option<u64>,
    /// From 0, the request would fail for want of memory, to 1, for want of large pieces; -1 where a piece is big enough
    /// (`extfrag_index`). `null` for single pages.
    pub extfrag_index: Option<f64>,
    /// The part of free memory that is in pieces too small (`unusable_index`).
    pub unusable_index: Option<f64>,
}

/// A zone's answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It would do, by the figures printed.
    Fits,
    /// Above the lowest watermark, and below that of the last try before the OOM killer.
    BelowHigh,
    /// Below the watermark.
    BelowMin,
    /// It has more than its watermark, but keeps it for requests that no higher zone can serve.
    Reserved,
    /// What is free is for movable pages, or for requests that can't wait.
    OtherKinds,
    /// Enough is free, in pieces too small.
    Fragmented,
    /// The request may not use such a zone.
    WrongZone,
    /// The request is bound to other nodes.
    WrongNode,
    /// The report does not hold what is needed to tell.
    Unknown,
}

/// What each zone had to say, in the report's order.
pub(super) fn judge(report: &Report, request: &Request, page: Option<PageSize>) -> Vec<Zone> {
    let Some(page) = page else { return Vec::new() };
    let ladder = ladder(report);
    report
        .zones
        .iter()
        .map(|zone| {
            Judge {
                report,
                request,
                page,
                zone,
                ladder: &ladder,
            }
            .zone()
        })
        .collect()
}

/// Zones from the lowest up.
const ALL_ZONES: [&str; 6] = ["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"];

fn rank(name: &str) -> usize {
    ALL_ZONES
        .iter()
        .position(|zone| *zone == name)
        .unwrap_or(ALL_ZONES.len())
}

/// The zones that this kernel has, populated or not: an entry of `lowmem_reserve[]` each.
fn ladder(report: &Report) -> Vec<&'static str> {
    let entries = report
        .zones
        .iter()
        .map(|zone| zone.lowmem_reserve.len())
        .max()
        .unwrap_or(0);
    let seen = |name: &str| report.zones.iter().any(|zone| zone.name == name);
    let high_memory = report
        .page_counts
        .get("highmem/movableonly")
        .or(report.page_counts.get("highmem"));
    let is_there = |name: &str| match name {
        "Normal" | "Movable" => true,
        "HighMem" => {
            seen(name)
                || (high_memory.is_some_and(|pages| *pages > 0)
                    && !seen("DMA32")
                    && !seen("Movable"))
        }
        "Device" => false,
        _ => seen(name),
    };
    let mut ladder: Vec<_> = ALL_ZONES
        .into_iter()
        .filter(|name| is_there(name))
        .collect();
    if ladder.len() + 1 == entries {
        ladder.push("Device");
    }
    if ladder.len() == entries {
        ladder
    } else {
        Vec::new()
    }
}

struct Judge<'a> {
    report: &'a Report,
    request: &'a Request,
    page: PageSize,
    zone: &'a report::Zone,
    ladder: &'a [&'static str],
}

impl Judge<'_> {
    fn zone(&self) -> Zone {
        let kb = |key: &str| self.zone.kb.get(key).copied().map(Bytes::from_kib);
        let of_blocks: Bytes = self
            .zone
            .blocks
            .iter()
            .map(|blocks| Bytes::from_kib(blocks.kb.saturating_mul(blocks.count)))
            .sum();
        let order = self.request.order.unwrap_or(0);
        let mut zone = Zone {
            node: self.zone.node,
            name: self.zone.name.clone(),
            answer: Answer::Unknown,
            words: String::new(),
            free_bytes: kb("free").unwrap_or(of_blocks),
            usable_bytes: None,
            min_bytes: kb("min"),
            low_bytes: kb("low"),
            high_bytes: kb("high"),
            boost_bytes: kb("boost").filter(|boost| *boost > Bytes::ZERO),
            reserve_bytes: self.reserve(),
            highatomic_bytes: kb("reserved_highatomic"),
            cma_bytes: kb("free_cma"),
            largest_bytes: self.largest(),
            fitting_pieces: self.fitting(order),
            extfrag_index: (order > 0).then(|| self.extfrag_index(order)).flatten(),
            unusable_index: self.unusable_index(order),
        };
        let off_limits = self.off_limits(&zone);
        zone.usable_bytes = zone.min_bytes.map(|_| zone.free_bytes - off_limits);
        zone.answer = self.answer(&zone, off_limits);
        zone.words = self.words(&zone);
        zone
    }

    /// Free, but of a kind that this request can't have.
    fn off_limits(&self, zone: &Zone) -> Bytes {
        let cma = if self.request.movable {
            Bytes::ZERO
        } else {
            zone.cma_bytes.unwrap_or_default()
        };
        let highatomic = if self.request.atomic {
            Bytes::ZERO
        } else {
            self.highatomic_free(zone)
        };
        cma + highatomic
    }

    /// Of what is kept for requests that can't wait at most what is still free there: blocks of kind `H` alone.
    fn highatomic_free(&self, zone: &Zone) -> Bytes {
        let only_those = |blocks: &&report::Blocks| {
            blocks
                .kinds
                .as_ref()
                .is_some_and(|kinds| kinds.contains('H'))
        };
        let blocks = self.zone.blocks.iter().filter(only_those);
        let free: Bytes = blocks
            .map(|blocks| Bytes::from_kib(blocks.kb.saturating_mul(blocks.count)))
            .sum();
        zone.highatomic_bytes.unwrap_or_default().min(free)
    }

    /// What the zone keeps from this request: by the highest zone that would have done.
    fn reserve(&self) -> Option<Bytes> {
        if self.zone.lowmem_reserve.is_empty() {
            return None;
        }
        let highest = rank(self.request.highest_zone);
        // a request for HighMem where there is none is one for the next zone down
        let at = self.ladder.iter().rposition(|name| rank(name) <= highest);
        let pages = match at {
            Some(at) => self.zone.lowmem_reserve.get(at).copied(),
            None => self
                .zone
                .lowmem_reserve
                .last()
                .copied()
                .filter(|_| self.request.movable),
        };
        Some(Bytes(pages?.saturating_mul(self.page.get())))
    }

    fn answer(&self, zone: &Zone, off_limits: Bytes) -> Answer {
        if rank(&zone.name) > rank(self.request.highest_zone) {
            return Answer::WrongZone;
        }
        if !self.may_use_node() {
            return Answer::WrongNode;
        }
        let Some(min) = zone.min_bytes else {
            // without watermarks there are still the pieces
            return match zone.fitting_pieces {
                Some(0) => Answer::Fragmented,
                _ => Answer::Unknown,
            };
        };
        let min = self.floor(min);
        let is_lower = rank(&zone.name) < rank(self.request.highest_zone);
        let usable = zone.free_bytes - off_limits;
        if zone.free_bytes <= min {
            return Answer::BelowMin;
        }
        if usable <= min {
            return Answer::OtherKinds;
        }
        let reserve = match zone.reserve_bytes {
            Some(reserve) => reserve,
            None if is_lower => return Answer::Unknown,
            None => Bytes::ZERO,
        };
        // of a large piece all but one page count as gone (`__zone_watermark_unusable_free`)
        let order = self.request.order.unwrap_or(0).min(40);
        let usable = usable - Bytes(((1u64 << order) - 1).saturating_mul(self.page.get()));
        if usable <= min + reserve {
            return Answer::Reserved;
        }
        match zone.fitting_pieces {
            Some(0) => return Answer::Fragmented,
            None if self.request.order > Some(0) => return Answer::Unknown,
            _ => {}
        }
        match zone.high_bytes {
            Some(high) if usable <= high + reserve => Answer::BelowHigh,
            _ => Answer::Fits,
        }
    }

    /// The watermark for this request: those that are urgent may go below it.
    fn floor(&self, min: Bytes) -> Bytes {
        let min = if self.request.high {
            Bytes(min.get() / 2)
        } else {
            min
        };
        if self.request.atomic {
            min - Bytes(min.get() / 4)
        } else {
            min
        }
    }

    fn may_use_node(&self) -> bool {
        let trigger = self
            .report
            .trigger
            .as_ref()
            .and_then(|trigger| trigger.nodemask.as_ref());
        let constraint = self.report.constraint.as_ref();
        let nodemask = trigger.or(constraint.and_then(|constraint| constraint.nodemask.as_ref()));
        let mems = constraint
            .and_then(|constraint| constraint.mems_allowed.as_ref())
            .or(self.report.mems_allowed.as_ref());
        [nodemask, mems]
            .into_iter()
            .flatten()
            .all(|list| is_in(list, self.zone.node))
    }

    /// Whether a request may have pieces of some of these kinds: `U`, `M`, `E` always; `H` when it can't wait; `C` for
    /// movable pages; `I` never (`show_migration_types` in `mm/show_mem.c`).
    fn may_have(&self, blocks: &report::Blocks) -> bool {
        let Some(kinds) = &blocks.kinds else {
            return true;
        };
        kinds.chars().any(|kind| match kind {
            'H' => self.request.atomic,
            'C' => self.request.movable,
            'I' => false,
            _ => true,
        })
    }

    fn order_of(&self, blocks: &report::Blocks) -> u32 {
        Bytes::from_kib(blocks.kb)
            .get()
            .checked_div(self.page.get())
            .filter(|pages| *pages > 0)
            .map_or(0, u64::ilog2)
    }

    /// Of a list that is cut at least so many; that there are none it can't tell.
    fn fitting(&self, order: u32) -> Option<u64> {
        let blocks = &self.zone.blocks;
        let fitting = blocks
            .iter()
            .filter(|blocks| self.order_of(blocks) >= order && self.may_have(blocks));
        let count = fitting
            .map(|blocks| blocks.count)
            .fold(0, u64::saturating_add);
        (!blocks.is_empty() && (count > 0 || !self.zone.blocks_are_cut)).then_some(count)
    }

    fn largest(&self) -> Option<Bytes> {
        let mut blocks = self.all_blocks()?.iter();
        let largest = blocks.rfind(|blocks| blocks.count > 0);
        largest.map(|blocks| Bytes::from_kib(blocks.kb))
    }

    fn all_blocks(&self) -> Option<&[report::Blocks]> {
        let blocks = &self.zone.blocks;
        (!blocks.is_empty() && !self.zone.blocks_are_cut).then_some(blocks)
    }

    /// `(free pages, free pieces, free pages in pieces of this order and above)`, of any kind, as the kernel's indices count.
    fn pieces(&self, order: u32) -> Option<(f64, f64, f64)> {
        let (mut pages, mut pieces, mut suitable) = (0.0, 0.0, 0.0);
        for blocks in self.all_blocks()? {
            let in_one = (1u64 << self.order_of(blocks).min(40)) as f64;
            let count = blocks.count as f64;
            pages += count * in_one;
            pieces += count;
            if self.order_of(blocks) >= order {
                suitable += count * in_one;
            }
        }
        Some((pages, pieces, suitable))
    }

    fn extfrag_index(&self, order: u32) -> Option<f64> {
        let (pages, pieces, suitable) = self.pieces(order)?;
        if pieces == 0.0 {
            return Some(0.0);
        }
        if suitable > 0.0 {
            return Some(-1.0);
        }
        let wanted = (1u64 << order.min(40)) as f64;
        Some(thousandths(1.0 - (1.0 + pages / wanted) / pieces))
    }

    fn unusable_index(&self, order: u32) -> Option<f64> {
        let (pages, _, suitable) = self.pieces(order)?;
        Some(thousandths(if pages == 0.0 {
            1.0
        } else {
            (pages - suitable) / pages
        }))
    }

    fn words(&self, zone: &Zone) -> String {
        let free = zone.free_bytes;
        let min = zone
            .min_bytes
            .map(|min| self.floor(min))
            .unwrap_or_default();
        let order = self.request.order.unwrap_or(0);
        match zone.answer {
            Answer::Fits => format!(
                "{free} free, {} above its min watermark, and pieces of that size: it would do by the figures printed, which are taken after the last try",
                free - min
            ),
            Answer::BelowHigh => format!(
                "{free} free: above its min watermark ({min}), and not above the high one ({}) that the last try before the OOM killer asks for",
                zone.high_bytes.unwrap_or_default()
            ),
            Answer::BelowMin => match zone.boost_bytes {
                Some(boost) => format!(
                    "{free} free, at or below its min watermark ({min}, of which {boost} are a passing boost)"
                ),
                None => format!("{free} free, at or below its min watermark ({min})"),
            },
            Answer::Reserved => format!(
                "{free} free, and the last {} are kept from requests that a higher zone could serve",
                zone.reserve_bytes.unwrap_or_default()
            ),
            Answer::OtherKinds => format!(
                "{free} free, but only {} of it of a kind that such a request may have: {}",
                zone.usable_bytes.unwrap_or_default(),
                self.other_kinds(zone)
            ),
            Answer::Fragmented => format!(
                "{free} free, none of it in a piece of order {order}{}",
                match zone.largest_bytes {
                    Some(largest) =>
                        format!(": the largest is {largest}{}", self.largest_is_other(zone)),
                    None => String::new(),
                }
            ),
            Answer::WrongZone => format!(
                "{free} free, of no use: such a request may not have memory of zone {}",
                zone.name
            ),
            Answer::WrongNode => {
                format!("{free} free, of no use: the request is bound to other nodes")
            }
            Answer::Unknown => match zone.fitting_pieces {
                Some(count) => format!(
                    "{free} free, {count} pieces big enough; its watermarks and what it keeps back are not in the report"
                ),
                None => {
                    format!("{free} free; the report does not hold what else is needed to tell")
                }
            },
        }
    }

    fn other_kinds(&self, zone: &Zone) -> String {
        let cma = zone
            .cma_bytes
            .filter(|bytes| !self.request.movable && *bytes > Bytes::ZERO);
        let highatomic = Some(self.highatomic_free(zone))
            .filter(|bytes| !self.request.atomic && *bytes > Bytes::ZERO);
        let words = [
            cma.map(|bytes| format!("{bytes} are CMA, for movable pages only")),
            highatomic.map(|bytes| format!("{bytes} are kept for requests that can't wait")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// A largest piece that is big enough is of another kind.
    fn largest_is_other(&self, zone: &Zone) -> &'static str {
        let big_enough = zone
            .largest_bytes
            .zip(self.request.bytes)
            .is_some_and(|(largest, wanted)| largest >= wanted);
        if big_enough {
            ", of a kind that such a request may not have"
        } else {
            ""
        }
    }
}

/// Whether a list like `0-1,4` has a number.
fn is_in(list: &str, number: u64) -> bool {
    list.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        from.parse()
            .ok()
            .zip(to.parse().ok())
            .is_some_and(|(from, to): (u64, u64)| (from..=to).contains(&number))
    })
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn lists_of_nodes() {
        assert!(is_in("0-1,4", 4) && is_in("0-1,4", 1) && is_in("0", 0));
        assert!(!is_in("0-1,4", 2) && !is_in("", 0) && !is_in("x-", 0));
    }
}
