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
    let sockets = unseen_sockets(scene);
    let mut evidence = vec![
        Evidence::bytes("plimsoll look", "unattributed", rest),
        scene.ram_evidence(),
    ];
    let mut means = "No counter of the kernel's has these pages, and they are in no pipe, socket or packet ring that could be seen: a driver took them (graphics, network rings, a hypervisor's balloon, a file system of its own such as ZFS).".to_owned();
    let mut remedies = Vec::new();
    if !sockets.is_empty() {
        evidence.push(Evidence::text(
            "sock_diag(7)",
            "not seen",
            sockets.join(", "),
        ));
        means.push_str(" Or they are in sockets or packet rings: not all could be asked for.");
        remedies.push(
            Remedy::command(
                "Have the kernel answer for its sockets, and look again",
                format!("modprobe -a {DIAGNOSES}"),
            )
            .undone_by(format!("modprobe -r {DIAGNOSES}")),
        );
    }
    remedies.extend([
        Remedy::command("Ask the kernel which of its functions allocate, where it counts them (since 6.10, booted with sysctl.vm.mem_profiling=1)", "sort -g /proc/allocinfo | tail"),
        Remedy::advice("Or boot with page_owner=on, which has it note who took each page (/sys/kernel/debug/page_owner)"),
        Remedy::command("Look whether it grows", "plimsoll look --watch=10"),
    ]);
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Warning,
        title: format!("{rest} of RAM are in use and nothing names their owner."),
        bytes: Some(rest),
        evidence,
        means,
        remedies,
    }])
}

/// The modules that answer `sock_diag(7)`.
const DIAGNOSES: &str = "af_packet_diag unix_diag tcp_diag udp_diag netlink_diag";

/// Kinds of sockets that the kernel did not answer for.
fn unseen_sockets<'a>(scene: &Scene<'a>) -> Vec<&'a str> {
    let unseen = scene
        .now
        .look
        .unseen
        .iter()
        .map(|unseen| unseen.what.as_str());
    unseen.filter(|what| what.contains("sockets")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host};
    use plimsoll_ledger::look::Unseen;

    #[test]
    fn memory_of_a_driver() {
        let mut host = host();
        assert_eq!(findings(&RULE, &host), []);
        host.look.host.unattributed_bytes = 10 << 30;
        assert_eq!(findings(&RULE, &host)[0].bytes, Some(Bytes(10 << 30)));
        host.look.unseen = vec![Unseen {
            what: "packet sockets of this network namespace".to_owned(),
            why: "sock_diag: No such file or directory".to_owned(),
        }];
        let found = findings(&RULE, &host);
        assert!(
            found[0].means.contains("packet rings: not all"),
            "{found:?}"
        );
        assert!(
            found[0].remedies[0]
                .command
                .as_ref()
                .unwrap()
                .contains("af_packet_diag")
        );
        host.look.host.unattributed_bytes = -(10 << 30);
        assert_eq!(findings(&RULE, &host), []);
    }
}
