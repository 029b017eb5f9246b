//! The end of a report: whom the kernel chose, killed and emptied, or why it gave up.

use super::cut::{
    Unit, after, before, between, find, leading_number, number_after, pairs, shown, signed_after,
};
use super::trigger::{node_list, nodemask};
use super::{Constraint, Kill, Report};

/// `Killed process …`, in any of its forms; also the announcement of kernels before 5.1 (`Kill process … or sacrifice child`).
pub(super) fn kill(text: &[u8]) -> Option<Kill> {
    let rest = after(text, b"Killed process ").or_else(|| after(text, b"Kill process "))?;
    let (pid, rest) = leading_number(rest)?;
    // a name may hold any bracket: the figures are behind the last ") "
    let figures = [b") total-vm:".as_slice(), b") score ", b") vsz:"]
        .iter()
        .find_map(|mark| memchr::memmem::rfind(rest, mark));
    let name_ends = figures.or_else(|| memchr::memrchr(b')', rest))?;
    let name = after(rest.get(..name_ends)?, b"(")?;
    let figures = rest.get(name_ends + 1..)?;
    let kb = pairs(figures)
        .filter(|(.., unit)| *unit == Unit::Kb)
        .map(|(key, kb, _)| (key, kb));
    Some(Kill {
        pid,
        name: shown(name),
        score: number_after(figures, b"score "),
        kb: kb.collect(),
        oom_score_adj: signed_after(figures, b"oom_score_adj:"),
        left_kb: None,
    })
}

/// `oom_reaper: reaped process 541 (dbus-broker), now anon-rss:0kB, …`.
pub(super) fn reaped(text: &[u8]) -> Option<(u64, super::Keyed)> {
    let (pid, rest) = leading_number(text.strip_prefix(b"oom_reaper: reaped process ")?)?;
    let left = pairs(after(rest, b", now")?).map(|(key, kb, _)| (key, kb));
    Some((pid, left.collect()))
}

/// `oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=x,pid=1,uid=0`.
///
/// Lists of nodes and names of tasks may have commas in them, so each value ends where the next key begins.
pub(super) fn constraint(text: &[u8]) -> Option<Constraint> {
    let rest = text.strip_prefix(b"oom-kill:constraint=")?;
    let value = |key: &[u8], next: &[&[u8]]| {
        let value = after(rest, key)?;
        let end = next.iter().filter_map(|next| find(value, next)).min();
        Some(shown(value.get(..end.unwrap_or(value.len()))?))
    };
    let tail = after(rest, b"task_memcg=").unwrap_or_default();
    let task = after(tail, b",task=");
    let task_ends = task.and_then(|task| memchr::memmem::rfind(task, b",pid="));
    Some(Constraint {
        kind: shown(before(rest, b",").unwrap_or(rest)),
        nodemask: nodemask(rest),
        cpuset: value(b"cpuset=", &[b",mems_allowed="]),
        mems_allowed: after(rest, b"mems_allowed=").map(node_list),
        is_global: after(rest, b",global_oom").is_some(),
        oom_memcg: value(b"oom_memcg=", &[b",task_memcg="]),
        task_memcg: value(b"task_memcg=", &[b",task="]),
        task: task
            .zip(task_ends)
            .and_then(|(task, end)| task.get(..end))
            .map(shown),
        pid: task
            .zip(task_ends)
            .and_then(|(task, end)| number_after(task.get(end..)?, b",pid=")),
    })
}

/// What is said beside that, and whether the line is such.
pub(super) fn remark(report: &mut Report, text: &[u8]) -> bool {
    if let Some(why) = between(text, b"Kernel panic - not syncing: ", b"\n") {
        report.panic = Some(shown(why));
        return true;
    }
    if text.starts_with(b"Out of memory and no killable processes")
        || text.starts_with(b"Memory cgroup out of memory: no killable")
    {
        report.nobody_to_kill = true;
        return true;
    }
    if after(text, b"COMPACTION is disabled!!!").is_some() {
        report.without_compaction = true;
        return true;
    }
    false
}

/// `sysrq: Manual OOM execution`, which stands before a report.
pub(super) fn is_by_hand(text: &[u8]) -> bool {
    after(text, b"Manual OOM execution").is_some()
}
