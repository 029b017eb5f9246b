//! What was asked for: how much in one piece, from which zones, and how hard the kernel may try.
//!
//! The four lowest bits of a gfp mask choose the zone and have not moved since 2.6.23 (`include/linux/gfp_types.h`); the names
//! of the others are printed since 4.6, and only the names are trusted for them, since their bits moved again and again.

use super::Part;
use crate::report::Report;
use plimsoll_units::{Bytes, PageSize};
use serde::Serialize;

/// One request for memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The name of what asked.
    pub command: String,
    /// Its process id.
    pub pid: Option<u64>,
    /// 2 to the power of this many pages in one piece; `null` for a kill by hand, which asks for none.
    pub order: Option<u32>,
    /// The size of that piece.
    pub bytes: Option<Bytes>,
    /// The mask as it was printed.
    pub gfp_mask: Option<u64>,
    /// Its names, where the kernel printed them.
    pub gfp: Vec<String>,
    /// The highest zone that would do: `DMA`, `DMA32`, `Normal`, `HighMem` or `Movable`.
    pub highest_zone: &'static str,
    /// The pages may be moved later: memory that is kept for movable pages (CMA) will do.
    pub movable: bool,
    /// It may take what is kept for emergencies.
    pub high: bool,
    /// It can't wait for reclaim.
    pub atomic: bool,
    /// What it was for, where the stack tells.
    pub purpose: Option<&'static str>,
    /// All that in words.
    pub words: String,
}

const DMA: u64 = 1;
const HIGHMEM: u64 = 2;
const DMA32: u64 = 4;
const MOVABLE: u64 = 8;

/// Names that stand for zone bits among others.
const ZONE_NAMES: [(&str, u64); 10] = [
    ("GFP_DMA", DMA),
    ("__GFP_DMA", DMA),
    ("GFP_DMA32", DMA32),
    ("__GFP_DMA32", DMA32),
    ("GFP_HIGHUSER", HIGHMEM),
    ("__GFP_HIGHMEM", HIGHMEM),
    ("GFP_HIGHUSER_MOVABLE", HIGHMEM | MOVABLE),
    ("GFP_TRANSHUGE", HIGHMEM | MOVABLE),
    ("GFP_TRANSHUGE_LIGHT", HIGHMEM | MOVABLE),
    ("__GFP_MOVABLE", MOVABLE),
];

/// What a function on the stack says of the purpose; the first that is found counts.
const PURPOSES: [(&str, &str); 13] = [
    ("copy_process", "to start a process or a thread"),
    ("do_anonymous_page", "to give a program a page of its own"),
    (
        "do_huge_pmd_anonymous_page",
        "to give a program a huge page",
    ),
    ("do_swap_page", "to bring a page back from swap"),
    ("do_wp_page", "to give a program its own copy of a page"),
    ("filemap_fault", "to read a page of a mapped file"),
    ("page_cache_ra_unbounded", "to read a file ahead"),
    ("__do_page_cache_readahead", "to read a file ahead"),
    ("generic_perform_write", "to write to a file"),
    ("pte_alloc_one", "for a page table"),
    ("__alloc_skb", "for network data"),
    ("bpf_prog_store_orig_filter", "to keep a socket's filter"),
    ("alloc_fdtable", "for a table of open files"),
];

/// The request of a report.
pub(super) fn of(report: &Report, page: Option<PageSize>) -> Option<Request> {
    let trigger = report.trigger.as_ref()?;
    let names = trigger.gfp_words.iter();
    let named = names
        .filter_map(|word| ZONE_NAMES.iter().find(|(name, _)| name == word))
        .fold(0, |bits, (_, bit)| bits | bit);
    let bits = trigger.gfp_mask.unwrap_or(named);
    let has = |name: &str| trigger.gfp_words.iter().any(|word| word == name);
    let order = trigger.order.and_then(|order| u32::try_from(order).ok());
    let bytes = order.zip(page).map(|(order, page)| {
        Bytes(
            1u64.checked_shl(order)
                .unwrap_or(0)
                .saturating_mul(page.get()),
        )
    });
    let purpose = PURPOSES
        .iter()
        .find(|(function, _)| report.stack.iter().any(|on| on.starts_with(function)));
    let mut request = Request {
        command: trigger.command.clone(),
        pid: report.pid,
        order,
        bytes,
        gfp_mask: trigger.gfp_mask,
        gfp: trigger.gfp_words.clone(),
        highest_zone: highest_zone(bits),
        movable: bits & MOVABLE != 0,
        high: has("GFP_ATOMIC") || has("__GFP_HIGH") || has("__GFP_ATOMIC"),
        atomic: has("GFP_ATOMIC") || has("GFP_NOWAIT"),
        purpose: purpose.map(|(_, words)| *words),
        words: String::new(),
    };
    request.words = words(&request);
    Some(request)
}

/// `gfp_zone()`.
fn highest_zone(bits: u64) -> &'static str {
    match (bits & DMA, bits & DMA32, bits & HIGHMEM, bits & MOVABLE) {
        (DMA, ..) => "DMA",
        (_, DMA32, ..) => "DMA32",
        (_, _, HIGHMEM, MOVABLE) => "Movable",
        (_, _, HIGHMEM, _) => "HighMem",
        _ => "Normal",
    }
}

fn words(request: &Request) -> String {
    let Some(order) = request.order else {
        return format!(
            "{} asked for no memory: the kill itself was asked for",
            request.command
        );
    };
    let piece = match (request.bytes, order) {
        (Some(bytes), 0) => format!("one page ({bytes})"),
        (Some(bytes), _) => format!("{bytes} in one piece (order {order})"),
        (None, 0) => "one page".to_owned(),
        (None, _) => format!("2^{order} pages in one piece"),
    };
    let kind = match (request.movable, request.highest_zone) {
        (true, _) => "movable memory, from any zone",
        (_, "HighMem") => "memory from any zone but Movable",
        (_, "DMA") => "memory that old devices reach (zone DMA)",
        (_, "DMA32") => "memory below 4 GiB (zones DMA32 and DMA)",
        _ => "memory for the kernel's own use (zone Normal and below)",
    };
    let how = if request.atomic {
        ", unable to wait"
    } else {
        ""
    };
    let purpose = request
        .purpose
        .map(|purpose| format!(" {purpose}"))
        .unwrap_or_default();
    format!(
        "{} asked for {piece}{purpose}: {kind}{how}",
        request.command
    )
}

/// Makes a named amount.
pub(super) fn part(name: &str, bytes: Bytes) -> Part {
    Part {
        name: name.to_owned(),
        bytes,
    }
}
