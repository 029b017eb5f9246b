//! What pipes, sockets and packet rings hold: raw pages that no line of `/proc/meminfo` names.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_units::Bytes;

pub(super) const PIPES: Rule = Rule {
    id: "pipe-buffers",
    looks_for: "much memory in pipes that nobody reads",
    find: |scene| find(scene, &KINDS[0]),
};

pub(super) const SOCKETS: Rule = Rule {
    id: "socket-buffers",
    looks_for: "much memory in sockets that nobody reads",
    find: |scene| find(scene, &KINDS[1]),
};

pub(super) const RINGS: Rule = Rule {
    id: "packet-rings",
    looks_for: "much memory in packet rings",
    find: |scene| find(scene, &KINDS[2]),
};

/// A shell's pipes hold kilobytes, a busy server's sockets some megabytes; what is above this, on a host of 12 GiB and more, is
/// more than any build, database or file copy of ours had.
const LEAST: Bytes = Bytes::from_mib(64);

/// Of RAM, in thousandths.
const PER_MILLE: u64 = 5;

/// From here on it is memory that is missed: percent of RAM.
const GRAVE_PERCENT: u64 = 5;

struct Kind {
    id: &'static str,
    owner: &'static str,
    source: &'static str,
    what: &'static str,
    means: &'static str,
    /// In words, and as a command.
    remedies: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 3] = [
    Kind {
        id: "pipe-buffers",
        owner: "pipe_buffers",
        source: "FIONREAD of every pipe",
        what: "pipes",
        means: "Somebody writes into pipes, and who should read does not. Pages in pipes are in no line of /proc/meminfo and belong to no process's RSS; they are kept until they are read or both ends are closed.",
        remedies: &[
            (
                "Find the processes with most pipes, and let them read or end them",
                "for p in /proc/[0-9]*; do echo \"$(ls -l $p/fd 2>/dev/null | grep -c pipe:) $p $(cat $p/comm 2>/dev/null)\"; done | sort -n | tail -5",
            ),
            (
                "Bound what an ordinary user may have in pipes, in pages",
                "sysctl fs.pipe-user-pages-soft=16384",
            ),
        ],
    },
    Kind {
        id: "socket-buffers",
        owner: "socket_buffers",
        source: "sock_diag(7) of every network namespace",
        what: "socket buffers",
        means: "Data waits in sockets for somebody to read it, or for the network to take it. Most of it is in no line of /proc/meminfo and in no process's RSS.",
        remedies: &[
            (
                "Find the sockets with most in their queues, and their processes",
                "ss -apmn | sort -k2 -n | tail -20",
            ),
            (
                "Bound what a socket may have (bytes) for those that set their own size",
                "sysctl net.core.rmem_max net.core.wmem_max net.ipv4.tcp_rmem net.ipv4.tcp_wmem",
            ),
        ],
    },
    Kind {
        id: "packet-rings",
        owner: "packet_rings",
        source: "sock_diag(7), PACKET_SHOW_RING_CFG",
        what: "packet rings",
        means: "Programs that capture packets (tcpdump, dhcp clients, intrusion detection) share rings of pages with the kernel. Where such a program maps its ring it is in its RSS, but in no line of /proc/meminfo and in no control group.",
        remedies: &[(
            "Find the programs, and give them smaller rings (tcpdump -B, the number of threads of others)",
            "ss -0pmn",
        )],
    },
];

fn find(scene: &Scene<'_>, kind: &Kind) -> Answer {
    if scene.now.found.is_none() {
        return Err(NotSeen(
            "a look into the descriptors of all processes, which a recording does not hold",
        ));
    }
    let Some(owner) = scene.owner(kind.owner) else {
        return Ok(Vec::new());
    };
    let least = Bytes(scene.ram().get() / 1000 * PER_MILLE).max(LEAST);
    if owner.bytes < least {
        return Ok(Vec::new());
    }
    let mut evidence = vec![Evidence::bytes(kind.source, kind.owner, owner.bytes)];
    let parts = owner.detail.iter().take(5);
    evidence.extend(parts.map(|part| Evidence::bytes(kind.source, &part.name, part.bytes)));
    evidence.push(scene.ram_evidence());
    let grave = owner.bytes >= scene.percent_of_ram(GRAVE_PERCENT) || scene.short().is_some();
    Ok(vec![Finding {
        id: kind.id,
        severity: if grave {
            Severity::Warning
        } else {
            Severity::Note
        },
        title: format!("{} of RAM are in {}.", owner.bytes, kind.what),
        bytes: Some(owner.bytes),
        evidence,
        means: kind.means.to_owned(),
        remedies: kind
            .remedies
            .iter()
            .map(|(what, command)| Remedy::command(*what, *command))
            .collect(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host};
    use plimsoll_ledger::look::{Exactness, Owner};

    #[test]
    fn buffers_of_each_kind() {
        for (rule, kind) in [PIPES, SOCKETS, RINGS].iter().zip(&KINDS) {
            assert_eq!(rule.id, kind.id);
            let mut host = host();
            assert_eq!(findings(rule, &host), []);
            let held = |mib| Owner {
                id: kind.owner.to_owned(),
                name: kind.owner.to_owned(),
                bytes: Bytes::from_mib(mib),
                exactness: Exactness::Inferred,
                reclaimable: false,
                detail: Vec::new(),
            };
            host.look.host.owners.push(held(60));
            assert_eq!(findings(rule, &host), []);
            host.look.host.owners.pop();
            host.look.host.owners.push(held(245));
            assert_eq!(findings(rule, &host)[0].severity, Severity::Note);
            host.look.host.owners.pop();
            host.look.host.owners.push(held(1848));
            assert_eq!(findings(rule, &host)[0].severity, Severity::Warning);
        }
    }
}
