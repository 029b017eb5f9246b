//! A host that swaps while much of its RAM is cached files: what programs work with goes to disk so that files can stay.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};

pub(super) const RULE: Rule = Rule {
    id: "swapping-beside-cache",
    looks_for: "swapping while caches are large",
    find,
};

/// A quarter of RAM in cached files.
const CACHE_PERCENT: u64 = 25;

/// Pages a second that come back from swap: a disk does some hundred such reads, and somebody waits for each.
const PAGES_A_SECOND: f64 = 100.0;

/// Where the kernel did not look for pages to take (parking a process swaps too), nothing was pushed out by a cache.
const SCANNED: [&str; 2] = ["pgscan_kswapd", "pgscan_direct"];

/// With one look only: tasks waited for memory for this part of the last minute.
const STALLED_PERCENT: f64 = 5.0;

/// With one look only: so much of RAM is in swap.
const SWAPPED_PERCENT: u64 = 5;

fn find(scene: &Scene<'_>) -> Answer {
    let state = &scene.now.state;
    let meminfo = &state.meminfo;
    let total = meminfo.swap_total.ok_or(NotSeen("/proc/meminfo"))?;
    let used = total - meminfo.swap_free.unwrap_or(total);
    let cache = scene.held("page_cache") + scene.held("buffers");
    if used == plimsoll_units::Bytes::ZERO || cache < scene.percent_of_ram(CACHE_PERCENT) {
        return Ok(Vec::new());
    }
    let Some(swapping) = swapping(scene, used) else {
        return Ok(Vec::new());
    };
    let swappiness = state.settings.swappiness;
    let mut evidence = vec![
        swapping,
        Evidence::bytes("/proc/meminfo", "Cached + Buffers - Shmem", cache),
        Evidence::bytes("/proc/meminfo", "SwapTotal - SwapFree", used),
        scene.ram_evidence(),
    ];
    evidence.extend(
        swappiness.map(|value| Evidence::text("/proc/sys/vm/swappiness", "vm.swappiness", value)),
    );
    let mut remedies = Vec::new();
    if let Some(now) = swappiness.filter(|now| *now > 10) {
        remedies.push(
            Remedy::command(
                "Have the kernel take from cached files first",
                "sysctl vm.swappiness=10",
            )
            .undone_by(format!("sysctl vm.swappiness={now}")),
        );
    }
    remedies.push(Remedy::advice("Bound what reads so many files (a backup, a search) by a control group with a memory limit, so that its cache does not push out others' memory"));
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Warning,
        title: format!("The host swaps while {cache} of RAM are cached files."),
        bytes: Some(cache),
        evidence,
        means: "The kernel judged that these files will be wanted sooner than the programs' memory that it put to swap, and that memory is being wanted back. Programs wait for it.".to_owned(),
        remedies,
    }])
}

/// That it swaps now, not only once did.
fn swapping(scene: &Scene<'_>, used: plimsoll_units::Bytes) -> Option<Evidence> {
    let state = &scene.now.state;
    if let Some(before) = scene.before {
        let since = |name| {
            let was = before.account.state.event(name)?;
            state.event(name)?.checked_sub(was)
        };
        let pages = since("pswpin")?;
        let scanned: u64 = SCANNED.iter().filter_map(|name| since(name)).sum();
        if scanned < pages {
            return None;
        }
        let rate = pages as f64 / before.seconds;
        return (rate >= PAGES_A_SECOND).then(|| {
            Evidence::text(
                "/proc/vmstat",
                "pswpin, a second since the earlier look",
                format_args!("{rate:.0}"),
            )
        });
    }
    let stalled = state.pressure?.some.avg60;
    (stalled >= STALLED_PERCENT && used >= scene.percent_of_ram(SWAPPED_PERCENT)).then(|| {
        Evidence::text(
            "/proc/pressure/memory",
            "some avg60",
            format_args!("{stalled} %"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Account;
    use crate::findings::testing::{findings, findings_between, host, host_with};
    use plimsoll_units::Bytes;

    fn with(swap_used_kib: u64, cache_mib: u64, pswpin: u64, avg60: &str) -> Account {
        let text = include_str!("../../../../proc/fixtures/meminfo-6.18.txt");
        let free = 8_000_000 - swap_used_kib;
        let meminfo = text
            .replace("SwapTotal:             0 kB", "SwapTotal: 8000000 kB")
            .replace(
                "SwapFree:              0 kB",
                &format!("SwapFree: {free} kB"),
            );
        assert!(meminfo.contains(&format!("SwapFree: {free}")));
        let vmstat = format!("pswpin {pswpin}\npgscan_kswapd {}\n", pswpin * 2);
        let pressure = format!("some avg10=0.00 avg60={avg60} avg300=0.00 total=1\n");
        let mut host = host_with(&[
            ("proc/meminfo", &meminfo),
            ("proc/vmstat", &vmstat),
            ("proc/pressure/memory", &pressure),
        ]);
        let owners = &mut host.look.host.owners;
        owners
            .iter_mut()
            .find(|owner| owner.id == "page_cache")
            .unwrap()
            .bytes = Bytes::from_mib(cache_mib);
        host
    }

    #[test]
    fn swapping_now() {
        let found = findings_between(
            &RULE,
            with(3_000_000, 9_000, 0, "0.00"),
            &with(3_000_000, 9_000, 60_000, "0.00"),
        );
        assert!(found[0].evidence[0].value.contains("1000"));
        assert!(found[0].remedies[0].undo.as_ref().unwrap().ends_with("=60"));
        assert_eq!(
            findings(&RULE, &with(3_000_000, 9_000, 0, "20.00")).len(),
            1
        );
    }

    #[test]
    fn a_process_that_was_parked_and_comes_back_is_no_pressure() {
        let parked = |pswpin| {
            let mut host = with(3_000_000, 9_000, pswpin, "0.00");
            host.state
                .vmstat
                .as_mut()
                .unwrap()
                .unknown
                .retain(|(name, _)| **name == *b"pswpin");
            host
        };
        assert_eq!(findings_between(&RULE, parked(0), &parked(60_000)), []);
    }

    #[test]
    fn what_was_swapped_out_long_ago_or_beside_little_cache_is_well() {
        assert_eq!(
            findings_between(
                &RULE,
                with(3_000_000, 9_000, 0, "0.00"),
                &with(3_000_000, 9_000, 100, "0.00")
            ),
            []
        );
        assert_eq!(findings(&RULE, &with(3_000_000, 9_000, 0, "0.00")), []);
        assert_eq!(findings(&RULE, &with(3_000_000, 300, 0, "20.00")), []);
        assert_eq!(findings(&RULE, &host()), []);
    }
}
