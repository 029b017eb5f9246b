//! Control groups that were removed and are still there for the kernel, because pages that were charged to them still are.

use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};

pub(super) const RULE: Rule = Rule {
    id: "dying-groups",
    looks_for: "removed control groups that still hold memory",
    find,
};

/// A service manager leaves some tens behind, and they go as their page cache does. Each costs some hundred KiB of per-CPU
/// counters on a host of many CPUs, and reclaim visits all of them.
const MANY: u64 = 1000;

fn find(scene: &Scene<'_>) -> Answer {
    let groups = &scene.now.look.groups;
    let tops = groups.iter().filter(|group| group.path == "/");
    let dying: Vec<_> = tops
        .filter_map(|group| Some((group.version, group.dying_children?)))
        .collect();
    if dying.is_empty() {
        return Err(NotSeen("the control groups' memory controller"));
    }
    let found = dying.into_iter().filter(|(_, count)| *count >= MANY).map(|(version, count)| {
        let (source, field) = match version {
            1 => ("/proc/cgroups", "memory: num_cgroups, less the groups that are shown"),
            _ => ("/sys/fs/cgroup/cgroup.stat", "nr_dying_descendants"),
        };
        let mut evidence = vec![Evidence::text(source, field, count)];
        evidence.push(Evidence::bytes("/proc/meminfo", "Percpu", scene.held("percpu")));
        Finding {
            id: RULE.id,
            severity: if scene.short().is_some() { Severity::Warning } else { Severity::Note },
            title: format!("{count} removed control groups still hold memory."),
            bytes: None,
            evidence,
            means: "Pages (of cached files, tmpfs, System V segments, swap) that were charged to them outlived them. The pages come back under pressure; until then each group keeps its own counters, \
                and whoever reads or reclaims memory by group passes through all of them."
                .to_owned(),
            remedies: vec![
                Remedy::command("Drop the page cache and the dentries that keep them, once", "echo 3 > /proc/sys/vm/drop_caches"),
                Remedy::advice("Let jobs that come and go share one group for their files, or write to tmpfs that goes with them"),
            ],
        }
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{findings, group, host};

    #[test]
    fn many_dying_groups() {
        let with = |count| {
            let mut host = host();
            let mut top = group("/", 100, 1, 1);
            top.dying_children = count;
            host.look.groups = vec![top];
            findings(&RULE, &host)
        };
        assert_eq!(with(Some(40)), []);
        assert_eq!(with(None), []);
        assert!(with(Some(2_000))[0].title.starts_with("2000 removed"));
    }
}
