//! Anonymous memory in mappings without `ac`: `Committed_AS` does not see it, so whoever watches that figure watches the wrong one.
//!
//! glibc's arenas of threads, jemalloc and script engines map without reserve, so on most hosts there is some. It is told only
//! where it is much and memory gets short: there `Committed_AS` says that all is well and is wrong.

use crate::findings::scene::percent_of;
use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::CommitProcess;

pub(super) const RULE: Rule = Rule {
    id: "commit-outside",
    looks_for: "memory that Committed_AS does not see",
    find,
};

/// A quarter of RAM: a host whose plans stand on `Committed_AS` is a quarter off.
const MUCH_PERCENT: u64 = 25;

/// Getting short: less than a quarter of RAM available, which is sooner than the kernel acts.
const LEFT_PERCENT: u64 = 25;

/// So many processes are named.
const NAMED: usize = 3;

fn find(scene: &Scene<'_>) -> Answer {
    const NEEDS: NotSeen = NotSeen("the mappings of processes");
    let commit = scene.now.look.commit.as_ref().ok_or(NEEDS)?;
    let outside = commit.anon_outside_bytes.ok_or(NEEDS)?;
    let available = scene.now.state.meminfo.mem_available.ok_or(NEEDS)?;
    let much = scene.percent_of_ram(MUCH_PERCENT);
    if outside < much || available >= scene.percent_of_ram(LEFT_PERCENT) {
        return Ok(Vec::new());
    }
    let mut holders: Vec<_> = commit.processes.iter().collect();
    holders.sort_by_key(|process| std::cmp::Reverse(process.anon_outside_bytes));
    holders.retain(|process| process.anon_outside_bytes >= percent_of(outside, 5));
    let mut evidence = vec![
        Evidence::bytes("/proc/meminfo", "Committed_AS", commit.committed_bytes),
        Evidence::bytes("/proc/meminfo", "MemAvailable", available),
        Evidence::bytes(
            "/proc/PID/smaps",
            "Anonymous + Swap of private mappings without ac in VmFlags",
            outside,
        ),
    ];
    evidence.extend(
        holders
            .iter()
            .take(NAMED)
            .flat_map(|process| of_one(process)),
    );
    let glibc = holders.iter().any(|process| {
        process
            .shapes
            .iter()
            .any(|shape| shape.contains("glibc heap"))
    });
    let mut remedies = Vec::new();
    if glibc {
        remedies.push(Remedy::command(
            "The memory lies in the arenas that glibc makes for threads. Start the program with fewer of them, or with jemalloc; malloc_trim(3) gives back what is free in them",
            "MALLOC_ARENA_MAX=2 PROGRAM",
        ));
    }
    remedies.push(Remedy::advice(
        "Watch MemAvailable and the account of plimsoll look instead of Committed_AS",
    ));
    Ok(vec![Finding {
        id: RULE.id,
        severity: Severity::Warning,
        title: format!("{outside} of memory are in use that Committed_AS ({}) does not count.", commit.committed_bytes),
        bytes: Some(outside),
        evidence,
        means: "It was mapped without reserve (MAP_NORESERVE), which the kernel does not charge unless overcommit is strict. Committed_AS and CommitLimit say nothing about how near this host is to its end. \
            Under strict overcommit (vm.overcommit_memory=2) the same programs would be charged, and may be refused."
            .to_owned(),
        remedies,
    }])
}

fn of_one(process: &CommitProcess) -> Vec<Evidence> {
    let source = format!("/proc/{}/smaps", process.pid);
    let mut evidence = vec![Evidence::bytes(
        &source,
        &format!("without ac, of {}", process.command),
        process.anon_outside_bytes,
    )];
    evidence.extend(
        process
            .shapes
            .iter()
            .take(1)
            .map(|shape| Evidence::text(&source, "told by the mappings", shape)),
    );
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{file_with, findings, host_with};
    use plimsoll_units::Bytes;

    #[test]
    fn much_outside_while_memory_gets_short() {
        let short = file_with("proc/meminfo", "MemAvailable:", "MemAvailable: 2000000 kB");
        let mut host = host_with(&[("proc/meminfo", &short)]);
        let outside = |mib| Some(Bytes::from_mib(mib));
        let commit = host.look.commit.as_mut().unwrap();
        commit.anon_outside_bytes = outside(91 << 7);
        commit.processes = vec![CommitProcess {
            pid: 7,
            command: "python3".into(),
            anon_outside_bytes: Bytes::from_mib(91 << 7),
            shapes: vec!["11.4 GiB in 182 glibc heaps that Committed_AS does not see".into()],
            ..CommitProcess::default()
        }];
        let found = findings(&RULE, &host);
        assert_eq!(found[0].bytes, outside(91 << 7));
        assert!(
            found[0]
                .evidence
                .iter()
                .any(|line| line.value.contains("182 glibc heaps"))
        );
        assert!(
            found[0].remedies[0]
                .command
                .as_ref()
                .unwrap()
                .contains("MALLOC_ARENA_MAX")
        );

        host.look.commit.as_mut().unwrap().anon_outside_bytes = outside(1 << 10);
        assert_eq!(findings(&RULE, &host), []);
    }

    #[test]
    fn much_outside_with_plenty_left_is_how_some_programs_are() {
        let mut host = host_with(&[]);
        host.look.commit.as_mut().unwrap().anon_outside_bytes = Some(Bytes::from_mib(8 << 10));
        assert_eq!(findings(&RULE, &host), []);
    }
}
