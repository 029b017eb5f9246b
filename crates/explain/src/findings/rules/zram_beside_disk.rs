//! Compressed RAM and a disk as swap at once: the first fills with what went out first, which is the coldest, and what is wanted again
//! goes to the disk.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_proc::state::SwapArea;

pub(super) const RULE: Rule = Rule {
    id: "zram-beside-disk",
    looks_for: "zram and a disk as swap at once",
    find,
};

fn find(scene: &Scene<'_>) -> Answer {
    let swaps = scene
        .now
        .state
        .swaps
        .as_ref()
        .ok_or(NotSeen("/proc/swaps"))?;
    let zram = swaps.iter().find(|area| area.is_zram());
    let disk = swaps.iter().find(|area| !area.is_zram());
    let (Some(zram), Some(disk)) = (zram, disk) else {
        return Ok(Vec::new());
    };
    let mut evidence: Vec<_> = swaps.iter().map(of_area).collect();
    evidence.push(Evidence::bytes(
        "/sys/block/zram*/mm_stat",
        "RAM that zram takes",
        scene.held("zram"),
    ));
    let spills = disk.used > plimsoll_units::Bytes::ZERO && zram.priority >= disk.priority;
    Ok(vec![Finding {
        id: RULE.id,
        severity: if spills { Severity::Warning } else { Severity::Note },
        title: format!("Swap is both zram ({}) and a disk ({}).", zram.path, disk.path),
        bytes: None,
        evidence,
        means: if zram.priority < disk.priority {
            "The disk is used first, so the fast one is the reserve of the slow one.".to_owned()
        } else {
            "zram is used first and keeps what it has: the coldest pages stay in RAM, compressed, and when it is full all that follows goes to the disk. Nothing moves from the one to the other.".to_owned()
        },
        remedies: vec![
            Remedy::command("Use zswap in front of the disk instead: it is the same compression, and moves cold pages on", "echo 1 > /sys/module/zswap/parameters/enabled").undone_by("echo 0 > /sys/module/zswap/parameters/enabled"),
            Remedy::command("And give up zram; what is in it comes back into RAM, so do it while there is room", format!("swapoff {}", zram.path)).undone_by(format!("swapon -p {} {}", zram.priority, zram.path)),
        ],
    }])
}

fn of_area(area: &SwapArea) -> Evidence {
    let value = format!(
        "{} of {} used, priority {}",
        area.used, area.size, area.priority
    );
    Evidence::text("/proc/swaps", &area.path, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host, host_with};

    fn with(areas: &str) -> Vec<Finding> {
        let text = format!("Filename Type Size Used Priority\n{areas}");
        findings(&RULE, &host_with(&[("proc/swaps", &text)]))
    }

    #[test]
    fn both_at_once() {
        assert_eq!(findings(&RULE, &host()), []);
        assert_eq!(with("/dev/zram0 partition 4000000 100 100\n"), []);
        assert_eq!(with("/dev/vdb partition 4000000 100 -2\n"), []);
        let found =
            with("/dev/zram0 partition 4000000 4000000 100\n/dev/vdb partition 4000000 9000 -2\n");
        assert_eq!(found[0].severity, Severity::Warning);
        assert_eq!(
            found[0].remedies[1].undo.as_deref(),
            Some("swapon -p 100 /dev/zram0")
        );
        assert_eq!(
            with("/dev/zram0 partition 4000000 0 1\n/dev/vdb partition 4000000 0 2\n")[0].severity,
            Severity::Note
        );
    }
}
