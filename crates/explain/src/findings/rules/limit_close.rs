//! A group whose limit is close to what it works with: not one that is filled by cached files, which is normal, but one where what can't
//! be taken back nears the limit, or whose pages are needed again as soon as they are taken.

use crate::findings::scene::percent_of;
use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::Group;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "limit-close",
    looks_for: "a control group whose limit is close to its working set",
    find,
};

/// A group that is filled to here is at its limit for all that matters.
const FULL_PERCENT: u64 = 90;

/// Programs' own memory and the kernel's up to here leave a tenth for files: the next allocation may be the last.
const STUCK_PERCENT: u64 = 90;

/// A group that loses a tenth of its time to waiting for memory.
const STALLED_PERCENT: f64 = 10.0;

/// Pages needed again, as a part of the limit, between two looks: its working set does not fit.
const REFAULT_PERCENT: u64 = 10;

/// Limits below this are set by tests.
const LEAST: Bytes = Bytes::from_mib(8);

fn find(scene: &Scene<'_>) -> Answer {
    let groups = &scene.now.look.groups;
    if groups.is_empty() {
        return Err(NotSeen("the control groups"));
    }
    Ok(groups
        .iter()
        .filter_map(|group| of_group(scene, group))
        .collect())
}

fn of_group(scene: &Scene<'_>, group: &Group) -> Option<Finding> {
    let limit = group
        .ram_limit_bytes
        .filter(|limit| (LEAST..scene.ram()).contains(limit))?;
    let current = group
        .current_bytes
        .filter(|current| *current >= percent_of(limit, FULL_PERCENT))?;
    let stuck = group.user_bytes? + group.kernel_bytes.unwrap_or_default();
    let stalled = group
        .stalled_percent
        .filter(|percent| *percent >= STALLED_PERCENT);
    let refaulted =
        refaulted(scene, group).filter(|bytes| *bytes >= percent_of(limit, REFAULT_PERCENT));
    if stuck < percent_of(limit, STUCK_PERCENT) && stalled.is_none() && refaulted.is_none() {
        return None;
    }
    let (dir, limit_file, current_file) = match group.version {
        1 => (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        _ => ("/sys/fs/cgroup", "memory.max", "memory.current"),
    };
    let file = |name: &str| format!("{dir}{}/{name}", group.path);
    let mut evidence = vec![
        Evidence::bytes(&file(limit_file), limit_file, limit),
        Evidence::bytes(&file(current_file), current_file, current),
        Evidence::bytes(
            &file("memory.stat"),
            "programs' memory and the kernel's",
            stuck,
        ),
    ];
    evidence.extend(stalled.map(|percent| {
        Evidence::text(
            &file("memory.pressure"),
            "some avg60",
            format_args!("{percent} %"),
        )
    }));
    evidence.extend(refaulted.map(|bytes| {
        Evidence::bytes(
            &file("memory.stat"),
            "workingset_refault_*, since the earlier look",
            bytes,
        )
    }));
    Some(Finding {
        id: RULE.id,
        severity: if stuck >= percent_of(limit, 97) {
            Severity::Critical
        } else {
            Severity::Warning
        },
        title: format!(
            "{} works with about all of its limit of {limit}.",
            group.path
        ),
        bytes: Some(current),
        evidence,
        means: if stuck >= percent_of(limit, STUCK_PERCENT) {
            format!(
                "{stuck} of it are memory of its programs and of the kernel for them, which can't be dropped. When it wants more, the kernel kills one of its processes."
            )
        } else {
            "What is taken from it to stay below the limit is needed again at once: its programs wait for the disk instead of working.".to_owned()
        },
        remedies: vec![
            Remedy::command(
                "Raise the limit above what it needs",
                format!("echo {} > {}", limit.get() / 4 * 5, file(limit_file)),
            )
            .undone_by(format!("echo {} > {}", limit.get(), file(limit_file))),
            Remedy::command("See what it holds", format!("plimsoll look {}", group.path)),
        ],
    })
}

/// What was needed again since the earlier look.
fn refaulted(scene: &Scene<'_>, group: &Group) -> Option<Bytes> {
    let before = &scene.before?.account.look.groups;
    let was = before
        .iter()
        .find(|was| was.path == group.path && was.version == group.version)?;
    let pages = group.refaulted_pages?.checked_sub(was.refaulted_pages?)?;
    Some(Bytes(pages.saturating_mul(scene.now.state.page.get())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, findings_between, group, host};

    fn with(group: Group) -> crate::findings::Account {
        let mut host = host();
        host.look.groups = vec![group];
        host
    }

    #[test]
    fn files_may_fill_a_limit_and_programs_may_not() {
        assert_eq!(findings(&RULE, &with(group("/build", 1024, 300, 720))), []);
        assert_eq!(findings(&RULE, &with(group("/db", 1024, 500, 100))), []);
        assert_eq!(
            findings(&RULE, &with(group("/db", 1024, 940, 60)))[0].severity,
            Severity::Warning
        );
        assert_eq!(
            findings(&RULE, &with(group("/db", 1024, 1010, 10)))[0].severity,
            Severity::Critical
        );
        // No limit at all, as far as the host goes.
        assert_eq!(
            findings(&RULE, &with(group("/db", 1 << 20, (1 << 20) - 5, 1))),
            []
        );
    }

    #[test]
    fn stalls_and_refaults_tell_a_working_set_that_does_not_fit() {
        let mut stalled = group("/db", 1024, 500, 500);
        stalled.stalled_percent = Some(30.0);
        assert!(
            findings(&RULE, &with(stalled))[0]
                .means
                .contains("needed again")
        );

        let refaulting = |pages| {
            let mut group = group("/db", 1024, 500, 500);
            group.refaulted_pages = Some(pages);
            with(group)
        };
        assert_eq!(
            findings_between(&RULE, refaulting(1_000), &refaulting(101_000)).len(),
            1
        );
        assert_eq!(
            findings_between(&RULE, refaulting(1_000), &refaulting(2_000)),
            []
        );
    }
}
