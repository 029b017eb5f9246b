//! A group near its `memory.high` whose memory has nowhere to go: without swap there is nothing to take from anonymous memory, and its
//! processes are put to sleep, ever longer, instead.

use crate::findings::scene::percent_of;
use crate::findings::{Answer, Evidence, Finding, NotSeen, Remedy, Rule, Scene, Severity};
use plimsoll_ledger::look::Group;
use plimsoll_units::Bytes;

pub(super) const RULE: Rule = Rule {
    id: "high-without-swap",
    looks_for: "memory.high near to be met, and no swap for it to work with",
    find,
};

/// Throttling begins at `memory.high` itself; from here on it is a matter of minutes.
const NEAR_PERCENT: u64 = 90;

/// So much of `memory.high` in memory that can only go to swap: what is left to reclaim is too little to live on.
const STUCK_PERCENT: u64 = 80;

fn find(scene: &Scene<'_>) -> Answer {
    let groups = &scene.now.look.groups;
    if groups.is_empty() {
        return Err(NotSeen("the control groups"));
    }
    let swap = scene.now.state.meminfo.swap_total.unwrap_or_default();
    Ok(groups
        .iter()
        .filter_map(|group| of_group(group, swap))
        .collect())
}

fn of_group(group: &Group, swap: Bytes) -> Option<Finding> {
    let high = group.ram_high_bytes?;
    let current = group.current_bytes?;
    let user = group.user_bytes?;
    let without_swap = swap == Bytes::ZERO || group.swap_limit_bytes == Some(Bytes::ZERO);
    if !without_swap
        || current < percent_of(high, NEAR_PERCENT)
        || user < percent_of(high, STUCK_PERCENT)
    {
        return None;
    }
    let file = |name: &str| format!("/sys/fs/cgroup{}/{name}", group.path);
    let mut evidence = vec![
        Evidence::bytes(&file("memory.high"), "memory.high", high),
        Evidence::bytes(&file("memory.current"), "memory.current", current),
        Evidence::bytes(&file("memory.stat"), "anon + shmem", user),
        Evidence::bytes("/proc/meminfo", "SwapTotal", swap),
    ];
    evidence.extend(group.stalled_percent.map(|stalled| {
        Evidence::text(
            &file("memory.pressure"),
            "some avg60",
            format_args!("{stalled} %"),
        )
    }));
    let met = current >= high || group.stalled_percent.is_some_and(|stalled| stalled >= 10.0);
    Some(Finding {
        id: RULE.id,
        severity: if met { Severity::Critical } else { Severity::Warning },
        title: format!("{} is at {current} of its memory.high of {high}, with no swap to give way to.", group.path),
        bytes: Some(current),
        evidence,
        means: "Above memory.high the kernel reclaims from the group and puts its processes to sleep, up to two seconds at a time, but kills nobody. What is anonymous or in tmpfs can only go to swap; without that the group \
            stands still for ever, and looks hung."
            .to_owned(),
        remedies: vec![
            Remedy::command("Give the host swap (and the group: memory.swap.max)", "plimsoll look --explain"),
            Remedy::command("Raise the limit", format!("echo max > {}", file("memory.high"))).undone_by(format!("echo {} > {}", high.get(), file("memory.high"))),
            Remedy::advice("Set memory.max instead, if the group had better be killed than stand still"),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::testing::{file_with, findings, group, host, host_with};

    #[test]
    fn a_group_that_will_stand_still() {
        let with = |user_mib, high: Option<u64>| {
            let mut host = host();
            let mut group = group("/web", 2048, user_mib, 10);
            group.ram_high_bytes = high.map(Bytes::from_mib);
            host.look.groups = vec![group];
            findings(&RULE, &host)
        };
        assert_eq!(with(930, Some(1024))[0].severity, Severity::Warning);
        assert_eq!(with(1020, Some(1024))[0].severity, Severity::Critical);
        assert_eq!(with(500, Some(1024)), []);
        assert_eq!(with(1020, None), []);
    }

    #[test]
    fn with_swap_there_is_a_way_out() {
        let meminfo = file_with("proc/meminfo", "SwapTotal:", "SwapTotal: 4000000 kB");
        let mut host = host_with(&[("proc/meminfo", &meminfo)]);
        let mut group = group("/web", 2048, 1020, 10);
        group.ram_high_bytes = Some(Bytes::from_mib(1024));
        host.look.groups = vec![group];
        assert_eq!(findings(&RULE, &host), []);
        host.look.groups[0].swap_limit_bytes = Some(Bytes::ZERO);
        assert_eq!(findings(&RULE, &host).len(), 1);
    }
}
