//! What ran out: the host, a part of it, a control group; or nothing, and somebody asked for a kill.

use crate::report::Report;
use serde::Serialize;

/// The kinds of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The host.
    Global,
    /// A control group of v1, at its limit.
    MemcgV1,
    /// A control group of v2.
    MemcgV2,
    /// A control group; the report does not hold what tells its version.
    Memcg,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy (`mbind`, `set_mempolicy`).
    Mempolicy,
    /// Nothing: a kill was asked for by hand (`sysrq-f`).
    Sysrq,
    /// A request failed, and nobody was killed for it.
    AllocationFailure,
}

impl Class {
    /// Whether a limit was met, not the host's end.
    #[must_use]
    pub const fn is_group(self) -> bool {
        matches!(self, Self::MemcgV1 | Self::MemcgV2 | Self::Memcg)
    }

    /// In plain words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Global => "the host ran out of memory",
            Self::MemcgV1 => "a control group (v1) met its limit",
            Self::MemcgV2 | Self::Memcg => "a control group met its limit",
            Self::Cpuset => "the memory nodes of a cpuset ran out",
            Self::Mempolicy => "the memory nodes of a memory policy ran out",
            Self::Sysrq => "a kill was asked for by hand (sysrq-f)",
            Self::AllocationFailure => "a request for memory failed; nobody was killed for it",
        }
    }
}

/// On the stack of who met a group's limit: since 2.6.25, and since 3.11.
const MET_A_LIMIT: [&str; 2] = ["mem_cgroup_out_of_memory", "mem_cgroup_oom_synchronize"];

/// The kind of a report, by what stands in it.
pub(super) fn of(report: &Report) -> Class {
    let constraint = report
        .constraint
        .as_ref()
        .map(|constraint| constraint.kind.as_str());
    let trigger = report.trigger.as_ref();
    if trigger.is_some_and(|trigger| trigger.is_failure) {
        return Class::AllocationFailure;
    }
    if report.by_hand || trigger.is_some_and(|trigger| trigger.order == Some(-1)) {
        return Class::Sysrq;
    }
    if let Some(memcg) = report
        .memcg
        .as_ref()
        .filter(|_| constraint.is_none_or(|kind| kind == "CONSTRAINT_MEMCG"))
    {
        let has = |key: &str| memcg.stat.contains_key(key);
        // v1 counts `cache` and `rss` where v2 counts `file` and `anon`
        let is_v1 =
            memcg.memory_and_swap.is_some() || memcg.kmem.is_some() || (has("cache") && has("rss"));
        return if is_v1 {
            Class::MemcgV1
        } else {
            Class::MemcgV2
        };
    }
    let bound = trigger.is_some_and(|trigger| trigger.nodemask.is_some());
    match constraint {
        Some("CONSTRAINT_MEMCG") => Class::Memcg,
        Some("CONSTRAINT_CPUSET") => Class::Cpuset,
        Some("CONSTRAINT_MEMORY_POLICY") => Class::Mempolicy,
        Some(_) => Class::Global,
        None if bound => Class::Mempolicy,
        // All that is left of a report may be its head.
        None if report
            .stack
            .iter()
            .any(|on| MET_A_LIMIT.iter().any(|function| on.starts_with(function))) =>
        {
            Class::Memcg
        }
        None => Class::Global,
    }
}
