//! The body that OOM reports and allocation failures share (`show_mem` in `mm/show_mem.c`).

use super::cut::{Unit, after, before, find, leading_number, number_after, pairs, shown};
use super::{Blocks, HugePages, Node, Report, Zone};
use plimsoll_proc::text::{number, words};

const RESERVE: &[u8] = b"lowmem_reserve[]:";

/// How far a report has come with such a line: its parts are printed in this order.
pub(super) fn stage(text: &[u8]) -> u8 {
    let has = |part: &[u8]| find(text, part).is_some();
    if has(b"+0x") || has(b" cpuset=") {
        0
    } else if has(b" min:") || text.starts_with(RESERVE) {
        3
    } else if text.starts_with(b"Node ") && has(b" active_anon:") {
        2
    } else if has(b"kB") && has(b"*") {
        4
    } else if has(b"hugepages_total=") {
        5
    } else if has(b" pages") || has(b" swap ") {
        6
    } else if text.ends_with(b"KB") {
        7
    } else if text.starts_with(b"[") {
        8
    } else {
        u8::from(has(b":"))
    }
}

/// Takes a line, if it is one of the body.
pub(super) fn take(report: &mut Report, text: &[u8]) -> bool {
    lowmem_reserve(report, text)
        || hugepages(report, text)
        || zone(report, text)
        || node(report, text)
        || buddy(report, text)
        || totals(report, text)
        || swap(report, text)
        || per_cpu(report, text)
        || page_count(report, text)
        || is_title(text)
}

/// `Node 0 DMA32` before the figures of a zone; `DMA32` alone where there is one node only.
fn place(head: &[u8]) -> Option<(u64, String)> {
    let (node, name) = match head.strip_prefix(b"Node ") {
        Some(rest) => leading_number(rest)?,
        None => (0, head),
    };
    let name = name.trim_ascii();
    let is_name = !name.is_empty() && name.len() < 16 && name.iter().all(u8::is_ascii_alphanumeric);
    is_name.then(|| (node, shown(name)))
}

/// Whether this report has such a line already: then the line is another report's.
pub(super) fn is_filled(report: &Report, text: &[u8]) -> bool {
    if text.starts_with(RESERVE) {
        let last = report.zones.iter().rfind(|zone| !zone.kb.is_empty());
        return last.is_none_or(|zone| !zone.lowmem_reserve.is_empty());
    }
    let known = |place: Option<(u64, String)>, filled: fn(&Zone) -> bool| {
        let place = place?;
        let zone = report
            .zones
            .iter()
            .find(|zone| (zone.node, &zone.name) == (place.0, &place.1))?;
        Some(filled(zone))
    };
    let figures = zone_head(text).and_then(|head| known(place(head), |zone| !zone.kb.is_empty()));
    let blocks =
        buddy_head(text).and_then(|head| known(place(head), |zone| !zone.blocks.is_empty()));
    figures.or(blocks).unwrap_or(false)
}

fn zone_head(text: &[u8]) -> Option<&[u8]> {
    let head = before(text, b" free:")?;
    after(text, b" min:")?;
    Some(head)
}

fn buddy_head(text: &[u8]) -> Option<&[u8]> {
    let head = before(text, b":")?;
    after(text, b"kB").and(after(text, b"*"))?;
    Some(head)
}

fn zone_at(report: &mut Report, (node, name): (u64, String)) -> Option<&mut Zone> {
    let at = report
        .zones
        .iter()
        .position(|zone| zone.node == node && zone.name == name);
    let at = at.unwrap_or_else(|| {
        report.zones.push(Zone {
            node,
            name,
            ..Zone::default()
        });
        report.zones.len() - 1
    });
    report.zones.get_mut(at)
}

fn zone(report: &mut Report, text: &[u8]) -> bool {
    let Some(place) = zone_head(text).and_then(place) else {
        return false;
    };
    let figures = pairs(text)
        .filter(|(.., unit)| *unit == Unit::Kb)
        .map(|(key, kb, _)| (key, kb));
    let figures = figures.collect();
    let unreclaimable = all_unreclaimable(text);
    let node = place.0;
    if let Some(zone) = zone_at(report, place) {
        zone.kb = figures;
    }
    if let Some(all) = unreclaimable {
        let known = report.nodes.iter().any(|one| one.id == node);
        if !known {
            report.nodes.push(Node {
                id: node,
                ..Node::default()
            });
        }
        for one in report
            .nodes
            .iter_mut()
            .filter(|one| one.id == node && one.kb.is_empty())
        {
            // a node is given up when all its zones are
            one.all_unreclaimable = Some(all && one.all_unreclaimable.unwrap_or(true));
        }
    }
    true
}

fn all_unreclaimable(text: &[u8]) -> Option<bool> {
    Some(after(text, b"all_unreclaimable? ")?.starts_with(b"yes"))
}

/// `lowmem_reserve[]: 0 1935 1935`: of the zone printed last.
fn lowmem_reserve(report: &mut Report, text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(RESERVE) else {
        return false;
    };
    let last = report.zones.iter_mut().rfind(|zone| !zone.kb.is_empty());
    if let Some(zone) = last {
        zone.lowmem_reserve = words(rest).map_while(number).collect();
    }
    true
}

fn node(report: &mut Report, text: &[u8]) -> bool {
    let Some((id, rest)) = text.strip_prefix(b"Node ").and_then(leading_number) else {
        return false;
    };
    let kb: super::Keyed = pairs(rest)
        .filter(|(.., unit)| *unit == Unit::Kb)
        .map(|(key, kb, _)| (key, kb))
        .collect();
    if !kb.contains_key("active_anon") {
        return false;
    }
    report.nodes.push(Node {
        id,
        kb,
        all_unreclaimable: all_unreclaimable(text),
    });
    true
}

/// `Node 0 DMA32: 871*4kB (UM) 149*8kB … = 5588kB`.
fn buddy(report: &mut Report, text: &[u8]) -> bool {
    let Some(place) = buddy_head(text).and_then(place) else {
        return false;
    };
    let mut blocks: Vec<Blocks> = Vec::new();
    for word in words(after(text, b":").unwrap_or_default()).take_while(|word| *word != b"=") {
        if let Some((count, rest)) = leading_number(word) {
            let size = rest.strip_prefix(b"*").and_then(leading_number);
            if let Some((kb, b"kB")) = size {
                blocks.push(Blocks {
                    count,
                    kb,
                    kinds: None,
                });
            }
        } else if let (Some(kinds), Some(last)) = (
            word.strip_prefix(b"(")
                .and_then(|word| word.strip_suffix(b")")),
            blocks.last_mut(),
        ) {
            last.kinds = Some(shown(kinds));
        }
    }
    if blocks.is_empty() {
        return false;
    }
    let listed = blocks
        .iter()
        .map(|blocks| blocks.kb.saturating_mul(blocks.count))
        .fold(0, u64::saturating_add);
    let sum = after(text, b"= ").and_then(leading_number);
    if let Some(zone) = zone_at(report, place) {
        zone.blocks = blocks;
        zone.blocks_are_cut = sum.is_none_or(|(kb, _)| kb != listed);
    }
    true
}

fn hugepages(report: &mut Report, text: &[u8]) -> bool {
    let Some(total) = number_after(text, b"hugepages_total=") else {
        return false;
    };
    report.hugepages.push(HugePages {
        total,
        free: number_after(text, b"hugepages_free=").unwrap_or(0),
        kb: number_after(text, b"hugepages_size=").unwrap_or(0),
    });
    true
}

/// `active_anon:290797 inactive_anon:…`: nothing but keys and pages.
fn totals(report: &mut Report, text: &[u8]) -> bool {
    let figures: Vec<_> = pairs(text).collect();
    let words = words(text).count();
    if figures.is_empty()
        || figures.len() != words
        || figures.iter().any(|(.., unit)| *unit == Unit::Kb)
    {
        return false;
    }
    const FIRST: [&str; 8] = [
        "active_anon",
        "active_file",
        "inactive_file",
        "unevictable",
        "slab_reclaimable",
        "mapped",
        "free",
        "kernel_misc_reclaimable",
    ];
    let known = figures.first().is_some_and(|(key, ..)| {
        FIRST.contains(&key.as_str()) || key == "sec_pagetables" || key == "slab"
    });
    if known {
        for (key, pages, _) in figures {
            report.totals.entry(key).or_insert(pages);
        }
    }
    known
}

fn swap(report: &mut Report, text: &[u8]) -> bool {
    let kb = |title: &[u8]| {
        let rest = text
            .strip_prefix(title)?
            .trim_ascii_start()
            .strip_prefix(b"=")?;
        Some(leading_number(rest.trim_ascii_start())?.0)
    };
    if let Some(free) = kb(b"Free swap") {
        report.swap_free_kb = Some(free);
        return true;
    }
    if let Some(total) = kb(b"Total swap") {
        report.swap_total_kb = Some(total);
        return true;
    }
    text.starts_with(b"Swap cache stats:")
}

/// `CPU    0: hi:  186, btch:  31 usd: 103` below `Node 0 DMA per-cpu:`.
fn per_cpu(report: &mut Report, text: &[u8]) -> bool {
    if text.ends_with(b" per-cpu:") {
        return true;
    }
    if !text.starts_with(b"CPU ") || after(text, b"hi:").is_none() {
        return false;
    }
    if let Some(used) = number_after(text, b"usd:") {
        report.per_cpu_pages = Some(report.per_cpu_pages.unwrap_or(0).saturating_add(used));
    }
    true
}

/// `507136 pages RAM`, `151250 total pagecache pages`, `0 pages HighMem/MovableOnly`.
fn page_count(report: &mut Report, text: &[u8]) -> bool {
    let Some((count, rest)) = leading_number(text) else {
        return false;
    };
    let rest = rest.trim_ascii();
    let what = match rest.strip_prefix(b"pages ") {
        Some(what) => what,
        None if rest == b"total pagecache pages" => b"pagecache",
        None => return false,
    };
    if what.len() > 40 {
        return false;
    }
    report
        .page_counts
        .insert(shown(what).to_ascii_lowercase(), count);
    true
}

fn is_title(text: &[u8]) -> bool {
    [
        b"Mem-Info:".as_slice(),
        b"Mem-info:",
        b"Unreclaimable slab info:",
        b"Memory allocations:",
        b"Memory allocations (profiling is currently turned",
    ]
    .iter()
    .any(|title| text.starts_with(title))
        || text.is_empty()
}
