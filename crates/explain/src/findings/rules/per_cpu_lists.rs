//! Free pages on the lists of CPUs: free, but in no line of `/proc/meminfo`, and only their CPU can take from them.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "per-cpu-lists",
    looks_for: "per-CPU lists of free pages that have grown large",
    find,
};

/// Kernels since 6.7 tune the lists' length by themselves, up to an eighth of a zone for all CPUs: 2.9 % on a healthy host of ours under
/// builds, 5 % in a guest of 1 GiB.
const PERCENT: u64 = 10;

/// While memory is short.
const SHORT_PERCENT: u64 = 5;

fn find(scene: &Scene<'_>) -> Answer {
    let zoneinfo = scene
        .now
        .state
        .zoneinfo
        .as_ref()
        .ok_or(NotSeen("/proc/zoneinfo"))?;
    let lists = scene.held("pcp");
    let short = scene.short();
    let percent = if short.is_some() {
        SHORT_PERCENT
    } else {
        PERCENT
    };
    if lists < scene.percent_of_ram(percent) {
        return Ok(Vec::new());
    }
    let page = scene.now.state.page;
    let mut sets: Vec<_> = zoneinfo
        .zones
        .iter()
        .flat_map(|zone| zone.pagesets.iter().map(move |set| (zone, set)))
        .collect();
    sets.sort_by_key(|(_, set)| std::cmp::Reverse(set.count));
    let mut evidence = vec![Evidence::bytes(
        "/proc/zoneinfo",
        "pagesets: sum of count",
        lists,
    )];
    evidence.extend(sets.iter().take(3).map(|(zone, set)| {
        let name = printable(&zone.name);
        let bytes = |pages: Option<plimsoll_units::Pages>| pages.unwrap_or_default().bytes(page);
        let field = format!(
            "node {} {name}, cpu {}: count (high {})",
            zone.node,
            set.cpu,
            bytes(set.high)
        );
        Evidence::bytes("/proc/zoneinfo", &field, bytes(set.count))
    }));
    evidence.push(Evidence::bytes(
        "/proc/meminfo",
        "MemFree",
        scene.now.state.meminfo.mem_free.unwrap_or(Bytes::ZERO),
    ));
    Ok(vec![Finding {
        id: RULE.id,
        severity: if short.is_some() { Severity::Warning } else { Severity::Note },
        title: format!("{lists} of free pages are on per-CPU lists, where MemFree does not count them."),
        bytes: Some(lists),
        evidence,
        means: "They are free, but only the CPU that has them can use them, and large blocks can't be made of them. The kernel drains them before it calls the OOM killer.".to_owned(),
        remedies: vec![
            Remedy::command("Bound them: all lists of a zone together to a hundredth of it. They come down by themselves then, within seconds where the kernel tunes them (since 6.7)", "sysctl vm.percpu_pagelist_high_fraction=100").undone_by("sysctl vm.percpu_pagelist_high_fraction=0"),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host, host_with};

    #[test]
    fn long_lists() {
        assert_eq!(findings(&RULE, &host()), []);
        let zoneinfo = include_str!("../../../../proc/fixtures/zoneinfo-6.18.txt");
        let grown: String = zoneinfo
            .lines()
            .map(|line| {
                if line.trim_start().starts_with("count:") {
                    "    count:    240000\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let found = findings(&RULE, &host_with(&[("proc/zoneinfo", &grown)]));
        assert!(found[0].bytes > Some(Bytes::from_mib(2400)), "{found:?}");
        assert_eq!(found[0].evidence.len(), 5);
    }
}
