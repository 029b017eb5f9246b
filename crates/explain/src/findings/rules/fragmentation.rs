//! Free memory in pieces that are too small: a request for 8 pages in a row (order 3) finds none, and may end in the OOM killer.
//!
//! Order 3 is the largest that the kernel treats as one that must not fail (`PAGE_ALLOC_COSTLY_ORDER`): beyond it requests fail, up to
//! it they reclaim, compact and at last kill. It is said where no zone that such a request may use has a block left and there is
//! memory free all the same.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_proc::state::FreeBlocks;
use plimsoll_proc::zoneinfo::Zone;
use plimsoll_units::{Bytes, Pages};

pub(super) const RULE: Rule = Rule {
    id: "fragmentation",
    looks_for: "free memory that is no use, in pieces too small",
    find,
};

/// `PAGE_ALLOC_COSTLY_ORDER`
const ORDER: usize = 3;

/// Zones that any request of the kernel may use.
const ZONES: [&str; 2] = ["DMA32", "Normal"];

/// Free memory is worth the word when it is so many times the watermark at which the kernel rests.
const TIMES_HIGH: u64 = 2;

/// Owners of pages that the kernel can't move.
const FIXED: [&str; 9] = [
    "slab",
    "kmalloc_large",
    "page_tables",
    "kernel_stacks",
    "vmalloc",
    "percpu",
    "pipe_buffers",
    "socket_buffers",
    "packet_rings",
];

/// So many of them are named.
const NAMED: usize = 3;

fn find(scene: &Scene<'_>) -> Answer {
    const NEEDS: NotSeen = NotSeen("/proc/buddyinfo and /proc/zoneinfo");
    let state = &scene.now.state;
    let zoneinfo = state.zoneinfo.as_ref().ok_or(NEEDS)?;
    if state.free_blocks.is_empty() {
        return Err(NEEDS);
    }
    let zones: Vec<_> = state
        .free_blocks
        .iter()
        .filter(|zone| ZONES.contains(&zone.zone.as_str()))
        .filter_map(|blocks| {
            Some((
                blocks,
                zoneinfo.zones.iter().find(|zone| is_same(blocks, zone))?,
            ))
        })
        .collect();
    let free: Bytes = zones
        .iter()
        .map(|(blocks, _)| pages(blocks, 0).bytes(state.page))
        .sum();
    let high: Bytes = zones
        .iter()
        .filter_map(|(_, zone)| zone.high)
        .sum::<Pages>()
        .bytes(state.page);
    let has_large = zones
        .iter()
        .any(|(blocks, _)| pages(blocks, ORDER) > Pages(0));
    if zones.is_empty() || has_large || free.get() < high.get().saturating_mul(TIMES_HIGH) {
        return Ok(Vec::new());
    }
    let wanted = Bytes(state.page.get() << ORDER);
    let evidence = zones.iter().map(|(blocks, _)| {
        let counts: Vec<_> = blocks.blocks.iter().map(u64::to_string).collect();
        Evidence::text(
            "/proc/buddyinfo",
            &format!("Node {}, zone {}", blocks.node, blocks.zone),
            counts.join(" "),
        )
    });
    let mut evidence: Vec<_> = evidence.collect();
    evidence.push(Evidence::bytes("/proc/zoneinfo", "high watermarks", high));
    for event in ["compact_fail", "compact_success"] {
        if let Some(count) = state.event(event) {
            evidence.push(Evidence::text("/proc/vmstat", event, count));
        }
    }
    let mut fixed: Vec<_> = scene
        .now
        .look
        .host
        .owners
        .iter()
        .filter(|owner| FIXED.iter().any(|id| owner.id.starts_with(id)))
        .collect();
    fixed.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    evidence.extend(fixed.iter().take(NAMED).map(|owner| {
        let field = format!("can't be moved: {}", owner.name);
        Evidence::bytes("plimsoll look", &field, owner.bytes)
    }));
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Critical,
        title: format!("{free} are free, and not {wanted} of it in one piece."),
        bytes: Some(free),
        evidence,
        means: format!(
            "A request for {wanted} (order {ORDER}: stacks on some machines, network buffers, drivers, slabs of large objects) must wait until the kernel has moved pages together, and where those can't be moved \
             the OOM killer runs, with memory free."
        ),
        remedies: vec![
            Remedy::command(
                "Have the kernel move pages together now, once",
                "echo 1 > /proc/sys/vm/compact_memory",
            ),
            Remedy::command(
                "Have it begin to reclaim and compact earlier",
                format!("sysctl vm.min_free_kbytes={}", doubled(scene)),
            )
            .undone_by(format!("sysctl vm.min_free_kbytes={}", min_free_kib(scene))),
            Remedy::command(
                "See who holds the pages that can't be moved; with fewer of them memory comes together again",
                "plimsoll look",
            ),
        ],
    }])
}

fn is_same(blocks: &FreeBlocks, zone: &Zone) -> bool {
    zone.node == blocks.node && *zone.name == *blocks.zone.as_bytes()
}

/// Free pages in blocks of this order and above.
fn pages(blocks: &FreeBlocks, order: usize) -> Pages {
    let from = blocks.blocks.iter().enumerate().skip(order);
    let of_order = |(order, count): (usize, &u64)| {
        let shift = u32::try_from(order).unwrap_or(u32::MAX);
        Pages(count.saturating_mul(1u64.checked_shl(shift).unwrap_or(u64::MAX)))
    };
    from.map(of_order).sum()
}

fn min_free_kib(scene: &Scene<'_>) -> u64 {
    scene
        .now
        .state
        .settings
        .min_free_kbytes
        .unwrap_or_default()
        .get()
        >> 10
}

fn doubled(scene: &Scene<'_>) -> u64 {
    min_free_kib(scene).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host, host_with};

    fn with(dma32: &str, normal: &str) -> Vec<Finding> {
        let text = format!(
            "Node 0, zone DMA 0 0 0 0 0 0 0 0 1 1 2\nNode 0, zone DMA32 {dma32}\nNode 0, zone Normal {normal}\n"
        );
        findings(&RULE, &host_with(&[("proc/buddyinfo", &text)]))
    }

    #[test]
    fn all_free_memory_in_small_pieces() {
        assert_eq!(findings(&RULE, &host()), []);
        let found = with(
            "200000 50000 100 0 0 0 0 0 0 0 0",
            "400000 1000 7 0 0 0 0 0 0 0 0",
        );
        assert!(found[0].title.contains("32.0 KiB"), "{}", found[0].title);
        let names = found[0]
            .evidence
            .iter()
            .filter(|one| one.field.starts_with("can't be moved: "));
        assert_eq!(names.count(), NAMED);
        assert_eq!(
            found[0].bytes,
            Some(Bytes(
                (200_000 + 100_000 + 400 + 400_000 + 2_000 + 28) * 4096
            ))
        );
        assert!(
            found[0].remedies[1]
                .undo
                .as_ref()
                .unwrap()
                .ends_with("=67584")
        );
    }

    #[test]
    fn one_block_is_enough_and_no_memory_is_another_matter() {
        assert_eq!(
            with(
                "200000 50000 100 0 0 0 0 0 0 0 0",
                "400000 1000 7 1 0 0 0 0 0 0 0"
            ),
            []
        );
        assert_eq!(
            with("900 0 0 0 0 0 0 0 0 0 0", "900 0 0 0 0 0 0 0 0 0 0"),
            []
        );
    }
}
