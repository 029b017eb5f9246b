//! What an OOM report says: the verdict in plain words, and the figures it stands on.
//!
//! From a [`Report`] that was read to a [`Verdict`]: what asked for what (`request`), which zones could have served it and why
//! each could not (`zones`), where memory was (`owners`, in the ledger's words), who was killed and whether that helped
//! (`victims`), what would have avoided it (`remedies`). Two verdicts are held against each other by `compare`. The types are
//! the document, schema `plimsoll.explain-oom/1`.

mod class;
mod compare;
mod headline;
mod memory;
mod remedies;
mod request;
mod victims;
mod zones;

pub use class::Class;
pub use compare::{Change, Comparison, compare};
pub use memory::{Memory, page_size};
pub use request::Request;
pub use victims::{Killed, Task, Tasks};
pub use zones::{Answer, Zone};

use crate::report::{Quoted, Report};
use plimsoll_units::Bytes;
use serde::Serialize;

/// The name of this schema.
pub const SCHEMA: &str = "plimsoll.explain-oom/1";

/// All reports of one log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Always `plimsoll.explain-oom/1`.
    pub schema: &'static str,
    /// What was read.
    pub source: String,
    /// Each report, in the order of the log.
    pub reports: Vec<Verdict>,
    /// The last report held against the last of another log; `null` unless asked for.
    pub comparison: Option<Comparison>,
}

/// One report, understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Its first line in the log, from 1.
    pub first_line: usize,
    /// Its last.
    pub last_line: usize,
    /// Seconds since boot; `null` where the log does not tell.
    pub time_s: Option<f64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The size of a page, worked out from the report itself; without it there are no sizes of tasks.
    pub page_size_bytes: Option<u64>,
    /// What ran out.
    pub class: Class,
    /// The verdict in one or two sentences.
    pub headline: String,
    /// What was asked for; `null` where the head of the report is gone.
    pub request: Option<Request>,
    /// What each zone had to say to that; empty where zones have no part in it (limits of control groups).
    pub zones: Vec<Zone>,
    /// Where memory was.
    pub memory: Option<Memory>,
    /// The control group at its limit.
    pub group: Option<Group>,
    /// Object caches that can't be reclaimed, the biggest first.
    pub slab: Vec<Cache>,
    /// The greatest allocations by place in the kernel's source, where it counts them.
    pub allocations: Vec<Allocation>,
    /// All of swap, and what of it was free.
    pub swap_total_bytes: Option<Bytes>,
    /// See there.
    pub swap_free_bytes: Option<Bytes>,
    /// The table of tasks.
    pub tasks: Tasks,
    /// Who was killed.
    pub killed: Vec<Killed>,
    /// Whether that gave what was wanted, in words.
    pub outcome: Option<String>,
    /// Why the kernel gave up altogether, in its own words.
    pub panic: Option<String>,
    /// What would have avoided it, the nearest first.
    pub remedies: Vec<String>,
    /// Parts that this report lacks, so that something could not be said.
    pub missing: Vec<&'static str>,
    /// Lines within it that were not understood.
    pub quoted: Vec<Quote>,
    /// How many more there were.
    pub not_quoted: usize,
}

/// A control group at its limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Group {
    /// Its path.
    pub path: Option<String>,
    /// The group of who was chosen, where that is another.
    pub victims_path: Option<String>,
    /// What was charged to it.
    pub usage_bytes: Option<Bytes>,
    /// At most.
    pub limit_bytes: Option<Bytes>,
    /// Swap that it used.
    pub swap_bytes: Option<Bytes>,
    /// Swap that it might; `null` for no limit, and where the report does not tell.
    pub swap_limit_bytes: Option<Bytes>,
    /// How often the limit had been met.
    pub failcnt: Option<u64>,
    /// All of its processes were to be killed.
    pub kills_all: bool,
    /// What it holds by kind, the biggest first.
    pub parts: Vec<Part>,
}

/// A named amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// How much.
    pub bytes: Bytes,
}

/// An object cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// What its slabs take.
    pub bytes: Bytes,
    /// What of that is in use.
    pub used_bytes: Bytes,
}

/// A place in the kernel's source that allocates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// File, line, module and function.
    pub place: String,
    /// Held.
    pub bytes: Bytes,
    /// How often.
    pub calls: u64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// Its place in the log.
    pub line: usize,
    /// What it says.
    pub text: String,
}

/// The verdicts on all reports of a log.
#[must_use]
pub fn explain(reports: &[Report]) -> Vec<Verdict> {
    let again = |at: usize, report: &Report| {
        let later = reports.get(at + 1..).unwrap_or_default().iter();
        let mut ooms = later.filter(|next| {
            next.trigger
                .as_ref()
                .is_some_and(|trigger| !trigger.is_failure)
        });
        let next = ooms.find(|next| next.memcg.is_some() == report.memcg.is_some())?;
        Some(next.time_s? - report.time_s?).filter(|seconds| *seconds >= 0.0)
    };
    reports
        .iter()
        .enumerate()
        .map(|(at, report)| verdict(report, again(at, report)))
        .collect()
}

/// The verdict on one report; `again_after_s` is how much later the same ran out once more.
#[must_use]
pub fn verdict(report: &Report, again_after_s: Option<f64>) -> Verdict {
    let page = memory::page_size(report);
    let class = class::of(report);
    let request = request::of(report, page);
    let zones = match (&request, class) {
        (
            Some(request),
            Class::Global | Class::Cpuset | Class::Mempolicy | Class::AllocationFailure,
        ) => zones::judge(report, request, page),
        _ => Vec::new(),
    };
    let memory = page.and_then(|page| memory::of(report, page));
    let group = class.is_group().then(|| group(report));
    let mut verdict = Verdict {
        first_line: report.lines.0,
        last_line: report.lines.1,
        time_s: report.time_s,
        kernel: report.kernel.clone(),
        page_size_bytes: page.map(plimsoll_units::PageSize::get),
        class,
        headline: String::new(),
        request,
        zones,
        memory,
        group,
        slab: slab(report),
        allocations: report.allocations.iter().map(allocation).collect(),
        swap_total_bytes: report.swap_total_kb.map(Bytes::from_kib),
        swap_free_bytes: report.swap_free_kb.map(Bytes::from_kib),
        tasks: victims::tasks(report, page),
        killed: victims::killed(report, page),
        outcome: None,
        panic: report.panic.clone(),
        remedies: Vec::new(),
        missing: missing(report, class),
        quoted: report.quoted.iter().map(quote).collect(),
        not_quoted: report.not_quoted,
    };
    verdict.headline = headline::of(&verdict, report);
    verdict.outcome = victims::outcome(&verdict, report, again_after_s);
    verdict.remedies = remedies::of(&verdict, report);
    verdict
}

fn quote(quoted: &Quoted) -> Quote {
    Quote {
        line: quoted.line,
        text: quoted.text.clone(),
    }
}

fn allocation(allocation: &crate::report::Allocation) -> Allocation {
    Allocation {
        place: allocation.place.clone(),
        bytes: Bytes(allocation.bytes),
        calls: allocation.calls,
    }
}

fn slab(report: &Report) -> Vec<Cache> {
    let caches = report.slab.iter().map(|cache| Cache {
        name: cache.name.clone(),
        bytes: Bytes::from_kib(cache.total_kb),
        used_bytes: Bytes::from_kib(cache.used_kb),
    });
    let mut caches: Vec<_> = caches.collect();
    caches.sort_by_key(|cache| std::cmp::Reverse(cache.bytes));
    caches
}

fn group(report: &Report) -> Group {
    let memcg = report.memcg.clone().unwrap_or_default();
    let of_constraint = report.constraint.clone().unwrap_or_default();
    let path = of_constraint.oom_memcg.or(memcg.path);
    // near-infinite, in kB: no limit
    let limit = |kb: u64| (kb < 1 << 50).then(|| Bytes::from_kib(kb));
    let swap_of_v1 = memcg.memory_and_swap.zip(memcg.memory);
    Group {
        victims_path: of_constraint
            .task_memcg
            .filter(|victims| Some(victims) != path.as_ref()),
        path,
        usage_bytes: memcg.memory.map(|usage| Bytes::from_kib(usage.usage_kb)),
        limit_bytes: memcg.memory.and_then(|usage| limit(usage.limit_kb)),
        swap_bytes: memcg
            .swap
            .map(|usage| Bytes::from_kib(usage.usage_kb))
            .or(swap_of_v1.map(|(both, memory)| {
                Bytes::from_kib(both.usage_kb.saturating_sub(memory.usage_kb))
            })),
        swap_limit_bytes: memcg
            .swap
            .and_then(|usage| limit(usage.limit_kb))
            .or(swap_of_v1
                .and_then(|(both, memory)| Some(limit(both.limit_kb)? - limit(memory.limit_kb)?))),
        failcnt: memcg.memory.map(|usage| usage.failcnt),
        kills_all: memcg.kills_all,
        parts: memory::group_parts(&memcg.stat),
    }
}

fn verdict_lacks_total(report: &Report) -> bool {
    let counted = ["ram", "reserved"]
        .iter()
        .all(|what| report.page_counts.contains_key(*what));
    !counted
        && report
            .zones
            .iter()
            .all(|zone| !zone.kb.contains_key("managed"))
}

fn missing(report: &Report, class: Class) -> Vec<&'static str> {
    let of_host = !class.is_group();
    let wants_killed = !matches!(class, Class::AllocationFailure)
        && report.panic.is_none()
        && !report.nobody_to_kill;
    let parts = [
        (
            report.trigger.is_none(),
            "its first line: what asked for what",
        ),
        (of_host && report.totals.is_empty(), "the host's counters"),
        (
            of_host && report.zones.iter().all(|zone| zone.kb.is_empty()),
            "the zones and their watermarks",
        ),
        (
            of_host && report.zones.iter().all(|zone| zone.blocks.is_empty()),
            "the free blocks by size",
        ),
        (
            of_host && report.zones.iter().any(|zone| zone.blocks_are_cut),
            "some of the free blocks by size: their list does not make its sum",
        ),
        (of_host && verdict_lacks_total(report), "the size of RAM"),
        (
            !of_host
                && report
                    .memcg
                    .as_ref()
                    .is_none_or(|memcg| memcg.memory.is_none()),
            "the group's usage and limit",
        ),
        (
            !of_host
                && report
                    .memcg
                    .as_ref()
                    .is_none_or(|memcg| memory::is_cut(&memcg.stat)),
            "what the group held (the beginning of its memory.stat)",
        ),
        (
            wants_killed && report.tasks.is_empty(),
            "the table of tasks (vm.oom_dump_tasks may be 0)",
        ),
        (wants_killed && report.kills.is_empty(), "who was killed"),
    ];
    parts
        .into_iter()
        .filter(|(is_missing, _)| *is_missing)
        .map(|(_, part)| part)
        .collect()
}
