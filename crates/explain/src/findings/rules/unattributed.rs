//! Memory that nothing names: no counter of the kernel's has it, and looking did not find it. Drivers take such.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "unattributed",
    looks_for: "memory that nothing names",
    find,
};

/// 16 MiB of 23.5 GiB on a healthy host, and up to 130 MiB while it is so busy that files read one after the other disagree.
const PERCENT: u64 = 5;

/// The same on small hosts.
const LEAST: Bytes = Bytes::from_mib(64);

fn find(scene: &Scene<'_>) -> Answer {
    if scene.now.state.zoneinfo.is_none() || scene.now.found.is_none() {
        return Err(NotSeen(
            "/proc/zoneinfo, and what pipes and sockets hold, which a recording does not",
        ));
    }
    let rest = Bytes(u64::try_from(scene.now.look.host.unattributed_bytes).unwrap_or(0));
    if rest < scene.percent_of_ram(PERCENT).max(LEAST) {
        return Ok(Vec::new());
    }
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Warning,
        title: format!("{rest} of RAM are in use and nothing names their owner."),
        bytes: Some(rest),
        evidence: vec![
            Evidence::bytes("plimsoll look", "unattributed", rest),
            scene.ram_evidence(),
        ],
        means: "No counter of the kernel's has these pages, and they are in no pipe, socket or packet ring that could be seen: a driver took them (graphics, network rings, a hypervisor's balloon, a file system of its own such as ZFS).".to_owned(),
        remedies: vec![
            Remedy::command("Ask the kernel which of its functions allocate, where it counts them (since 6.10, booted with sysctl.vm.mem_profiling=1)", "sort -g /proc/allocinfo | tail"),
            Remedy::advice("Or boot with page_owner=on, which has it note who took each page (/sys/kernel/debug/page_owner)"),
            Remedy::command("Look whether it grows", "plimsoll look --watch=10"),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host};

    #[test]
    fn memory_of_a_driver() {
        let mut host = host();
        assert_eq!(findings(&RULE, &host), []);
        host.look.host.unattributed_bytes = 10 << 30;
        assert_eq!(findings(&RULE, &host)[0].bytes, Some(Bytes(10 << 30)));
        host.look.host.unattributed_bytes = -(10 << 30);
        assert_eq!(findings(&RULE, &host), []);
    }
}
