//! System V segments that nobody is attached to: memory of nobody, kept until somebody removes it by hand.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_proc::sysvipc_shm::Segment;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "orphaned-segments",
    looks_for: "System V segments that nobody is attached to",
    find,
};

/// Small ones are left by installers and tests and hurt nobody.
const LEAST: Bytes = Bytes::from_mib(16);

/// From here on it is memory that is missed: percent of RAM.
const GRAVE_PERCENT: u64 = 5;

/// So many segments are named.
const NAMED: usize = 8;

fn find(scene: &Scene<'_>) -> Answer {
    let segments = scene
        .now
        .state
        .segments
        .as_ref()
        .ok_or(NotSeen("/proc/sysvipc/shm"))?;
    let mut orphans: Vec<_> = segments
        .iter()
        .filter(|segment| segment.nattch == 0)
        .collect();
    orphans.sort_by_key(|segment| std::cmp::Reverse(held(segment)));
    let bytes: Bytes = orphans.iter().map(|segment| held(segment)).sum();
    let Some(biggest) = orphans.first().filter(|_| bytes >= LEAST) else {
        return Ok(Vec::new());
    };
    let evidence = orphans.iter().take(NAMED).map(|segment| {
        let field = format!(
            "shmid {}: nattch 0, made by pid {} of uid {}",
            segment.shmid, segment.cpid, segment.uid
        );
        Evidence::bytes("/proc/sysvipc/shm", &field, held(segment))
    });
    let grave = bytes >= scene.percent_of_ram(GRAVE_PERCENT);
    Ok(vec![Finding {
        id: RULE.id,
        severity: if grave { Severity::Warning } else { Severity::Note },
        title: match orphans.len() {
            1 => format!("{bytes} are in a System V segment that nobody is attached to."),
            n => format!("{bytes} are in {n} System V segments that nobody is attached to."),
        },
        bytes: Some(bytes),
        evidence: evidence.collect(),
        means: "Their makers ended without removing them. They stay until they are removed by name or the host restarts, without swap in RAM, and killing processes does not free them. \
            A program may mean to come back for its own: ask its owner."
            .to_owned(),
        remedies: vec![Remedy::command(
            "Remove it, if nobody means to come back for it; what it holds is gone then, and can't be had back",
            format!("ipcrm -m {}", biggest.shmid),
        )],
    }])
}

/// In RAM or swap; all of it where the kernel does not tell.
fn held(segment: &Segment) -> Bytes {
    segment.rss_bytes.map_or(segment.size_bytes, |rss| {
        rss + segment.swap_bytes.unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, host, host_with};

    const HEAD: &str =
        "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n";

    fn shm(nattch: u64, rss: u64) -> Vec<Finding> {
        let text = format!("{HEAD}0 7 1600 99999999999 812 812 {nattch} 0 0 0 0 0 0 0 {rss} 0\n");
        findings(&RULE, &host_with(&[("proc/sysvipc/shm", &text)]))
    }

    #[test]
    fn an_orphan_is_memory_of_nobody() {
        assert_eq!(findings(&RULE, &host()), []);
        assert_eq!(shm(1, 64 << 20), []);
        assert_eq!(shm(0, 1 << 20), []);
        let found = shm(0, 64 << 20);
        assert_eq!(
            (found[0].severity, found[0].bytes),
            (Severity::Note, Some(Bytes::from_mib(64)))
        );
        assert_eq!(found[0].remedies[0].command.as_deref(), Some("ipcrm -m 7"));
        assert_eq!(shm(0, 4 << 30)[0].severity, Severity::Warning);
    }
}
