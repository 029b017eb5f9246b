//! One process that grew between two looks, at a rate that ends within the hour.
//!
//! Two looks can't tell a leak from a phase of work; the rate against what is left can tell what matters. So it is said only where
//! going on would use up what is available, swap included, within an hour: choose looks further apart than your programs' phases.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::Process;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "process-growth",
    looks_for: "a process that grew between two looks and will use up what is left",
    find,
};

/// Of RAM, between the two looks.
const PERCENT: u64 = 1;

/// Programs grow by as much as this when they start.
const LEAST: Bytes = Bytes::from_mib(32);

/// Less time than this until nothing is left.
const WITHIN_S: f64 = 3600.0;

/// Less than this is no time.
const AT_ONCE_S: f64 = 600.0;

fn find(scene: &Scene<'_>) -> Answer {
    let before = scene.earlier()?;
    let was = &before.account.look.processes;
    let now = &scene.now.look.processes;
    if was.is_empty() || now.is_empty() {
        return Err(NotSeen("the processes of both looks"));
    }
    let meminfo = &scene.now.state.meminfo;
    let available = meminfo.mem_available.ok_or(NotSeen("MemAvailable"))?;
    let left = available + meminfo.swap_free.unwrap_or_default();
    let least = scene.percent_of_ram(PERCENT).max(LEAST);
    let found = now.iter().filter_map(|process| {
        let was = was
            .iter()
            .find(|was| was.pid == process.pid && was.command == process.command)?;
        let grown = own(process) - own(was);
        let rate = grown.get() as f64 / before.seconds;
        let ends_in_s = left.get() as f64 / rate;
        (grown >= least && ends_in_s < WITHIN_S)
            .then(|| of_process(process, was, grown, left, ends_in_s, before.seconds))
    });
    Ok(found.collect())
}

/// What comes free when it ends.
fn own(process: &Process) -> Bytes {
    process.anon_bytes + process.swap_bytes
}

fn of_process(
    process: &Process,
    was: &Process,
    grown: Bytes,
    left: Bytes,
    ends_in_s: f64,
    seconds: f64,
) -> Finding {
    let source = format!("/proc/{}/status", process.pid);
    Finding {
        id: RULE.id,
        severity: if ends_in_s < AT_ONCE_S { Severity::Critical } else { Severity::Warning },
        title: format!(
            "{} (pid {}, user {}) grew by {grown} in {seconds:.0} s; at that rate the {left} that are left last {:.0} minutes.",
            process.command,
            process.pid,
            process.user,
            (ends_in_s / 60.0).ceil()
        ),
        bytes: Some(grown),
        evidence: vec![
            Evidence::bytes(&source, "RssAnon + VmSwap, earlier", own(was)),
            Evidence::bytes(&source, "RssAnon + VmSwap, now", own(process)),
            Evidence::text(&format!("/proc/{}/cgroup", process.pid), "group", &process.cgroup),
            Evidence::bytes("/proc/meminfo", "MemAvailable + SwapFree", left),
        ],
        means: "A leak, or a phase of its work that takes this much: look again over a longer time to tell. When nothing is left the kernel kills somebody, not necessarily this one.".to_owned(),
        remedies: vec![
            Remedy::command("Look again, over a longer time", "plimsoll explain --since 10m"),
            Remedy::command("Put it out of RAM, whole, until it is wanted", format!("plimsoll park {}", process.pid)).undone_by(format!("plimsoll resume {}", process.pid)),
            Remedy::command("See what it maps", format!("plimsoll look {}", process.pid)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Account;
    use crate::findings::testing::{
        file_with, findings, findings_between, host, host_with, process,
    };

    fn with(mib: u64, available_kib: u64) -> Account {
        let meminfo = file_with(
            "proc/meminfo",
            "MemAvailable:",
            &format!("MemAvailable: {available_kib} kB"),
        );
        let mut host = host_with(&[("proc/meminfo", &meminfo)]);
        host.look.processes = vec![process(1, "init", 5), process(7, "leaky", mib)];
        host
    }

    #[test]
    fn growth_that_ends_soon() {
        let found = findings_between(&RULE, with(1000, 9 << 20), &with(2000, 8 << 20));
        assert!(
            found[0]
                .title
                .starts_with("leaky (pid 7, user ada) grew by 1000 MiB in 60 s"),
            "{}",
            found[0].title
        );
        assert_eq!(found[0].severity, Severity::Critical);
    }

    #[test]
    fn growth_that_does_not_matter_is_not_told() {
        // 300 MiB a minute with 20 GiB left is more than an hour.
        assert_eq!(
            findings_between(&RULE, with(1000, 20 << 20), &with(1250, 20 << 20)),
            []
        );
        assert_eq!(
            findings_between(&RULE, with(1000, 1 << 20), &with(1010, 1 << 20)),
            []
        );
        assert_eq!(
            findings_between(&RULE, with(1000, 1 << 20), &with(100, 1 << 20)),
            []
        );
        assert_eq!(findings_between(&RULE, host(), &host()), []);
        assert_eq!(findings(&RULE, &with(9000, 1 << 20)), []);
    }
}
