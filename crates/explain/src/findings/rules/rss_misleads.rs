//! Resident figures that can't be added up: processes that share pages count them once each.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::Process;
use plimsoll_units::Bytes;
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule {
    id: "rss-misleads",
    looks_for: "resident sizes that add up to more than there is",
    find,
};

/// More than RAM is more than anybody can believe; less may be believed and be wrong, but nothing says that anybody adds up.
const PERCENT: u64 = 100;

fn find(scene: &Scene<'_>) -> Answer {
    let processes = &scene.now.look.processes;
    if processes.is_empty() {
        return Err(NotSeen("the processes"));
    }
    let rss: Bytes = processes.iter().map(|process| process.rss_bytes).sum();
    if rss < scene.percent_of_ram(PERCENT) {
        return Ok(Vec::new());
    }
    let meminfo = &scene.now.state.meminfo;
    let really = meminfo.anon_pages.unwrap_or_default() + meminfo.mapped.unwrap_or_default();
    let anon: Bytes = processes.iter().map(|process| process.anon_bytes).sum();
    let counted = Counted::by(anon, meminfo.anon_pages.unwrap_or_default());
    let (name, count, shared) = counted.most(processes);
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Note,
        title: format!("Resident sizes (RSS) of all processes add up to {rss}, and together they have {really}."),
        bytes: Some(rss),
        evidence: vec![
            Evidence::bytes("/proc/PID/status", "VmRSS, all processes", rss),
            Evidence::bytes("/proc/meminfo", "AnonPages + Mapped", really),
            Evidence::bytes("/proc/PID/status", &format!("{} of {count} processes {name}", counted.field()), shared),
            scene.ram_evidence(),
        ],
        means: "Pages that processes share (a database's buffers, libraries, what a child inherited by fork and did not change) are in each one's RSS. No sum of RSS says how much is used; proportional sizes (PSS), or anonymous memory with what is mapped, do.".to_owned(),
        remedies: vec![Remedy::command("Add up what each has of its own, or the proportional sizes", "plimsoll look processes --by user --pss")],
    }])
}

/// What is counted more than once.
#[derive(Clone, Copy)]
enum Counted {
    /// Files and shared memory that several map.
    Shared,
    /// Anonymous memory that processes have in common since a fork.
    Inherited,
}

impl Counted {
    /// Where all processes' anonymous memory is more than there is, by a good part, it is inherited.
    fn by(anon: Bytes, there_is: Bytes) -> Self {
        if anon.get() / 2 > there_is.get() {
            Self::Inherited
        } else {
            Self::Shared
        }
    }

    fn field(self) -> &'static str {
        match self {
            Self::Shared => "RssFile + RssShmem",
            Self::Inherited => "RssAnon, inherited since a fork,",
        }
    }

    fn of(self, process: &Process) -> Bytes {
        match self {
            Self::Shared => process.rss_bytes - process.anon_bytes,
            Self::Inherited => process.anon_bytes,
        }
    }

    /// The name whose processes have most of it.
    fn most(self, processes: &[Process]) -> (&str, usize, Bytes) {
        let mut by_name: BTreeMap<&str, (usize, Bytes)> = BTreeMap::new();
        for process in processes {
            let name = process.command.split(' ').next().unwrap_or_default();
            let (count, bytes) = by_name.entry(name).or_default();
            *count = count.saturating_add(1);
            *bytes += self.of(process);
        }
        let several = by_name.into_iter().filter(|(_, (count, _))| *count > 1);
        let most = several.max_by_key(|(_, (_, bytes))| *bytes);
        most.map_or(("", 0, Bytes::ZERO), |(name, (count, bytes))| {
            (name, count, bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host, process};

    #[test]
    fn many_that_share_much() {
        let with = |count: u32, shared_mib| {
            let mut host = host();
            let mut all: Vec<_> = (2..count)
                .map(|pid| process(pid, "postgres: idle", 10))
                .collect();
            all.iter_mut()
                .for_each(|process| process.rss_bytes = Bytes::from_mib(shared_mib));
            all.push(process(1, "init", 5));
            host.look.processes = all;
            findings(&RULE, &host)
        };
        assert_eq!(with(20, 256), []);
        let found = with(250, 1280);
        assert!(
            found[0].evidence[2]
                .field
                .contains("248 processes postgres:"),
            "{found:?}"
        );
    }

    #[test]
    fn a_family_that_inherited_much() {
        let mut host = host();
        host.look.processes = (2..30)
            .map(|pid| process(pid, "server --fork", 1024))
            .collect();
        let found = findings(&RULE, &host);
        assert_eq!(
            found[0].evidence[2].field,
            "RssAnon, inherited since a fork, of 28 processes server"
        );
        assert_eq!(found[0].evidence[2].bytes, Some(Bytes(28 << 30)));
    }
}
