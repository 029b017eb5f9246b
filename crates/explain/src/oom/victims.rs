//! The tasks of a report, who of them was killed, and whether that gave what was wanted.

use super::{Answer, Class, Verdict};
use crate::report::{self, Kill, Report};
use plimsoll_units::{Bytes, PageSize, Pages};
use serde::Serialize;

/// The table of tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tasks {
    /// How many there are.
    pub count: usize,
    /// Resident memory of all: what several share counts for each.
    pub rss_bytes: Option<Bytes>,
    /// Of it anonymous, where the kernel tells the kinds apart (since 6.8).
    pub anon_bytes: Option<Bytes>,
    /// Swapped out, all of them.
    pub swap_bytes: Option<Bytes>,
    /// The biggest, as the kernel counts when it chooses: resident, swapped out and page tables.
    pub biggest: Vec<Task>,
}

/// One task.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Task {
    /// Process id.
    pub pid: u64,
    /// Its name.
    pub name: String,
    /// Resident.
    pub rss_bytes: Option<Bytes>,
    /// Of it anonymous.
    pub anon_bytes: Option<Bytes>,
    /// Of it pages of files.
    pub file_bytes: Option<Bytes>,
    /// Of it shared memory.
    pub shmem_bytes: Option<Bytes>,
    /// Swapped out.
    pub swap_bytes: Option<Bytes>,
    /// Page tables.
    pub page_table_bytes: Option<Bytes>,
    /// From -1000, never, to 1000, first.
    pub oom_score_adj: Option<i64>,
}

/// Somebody killed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Killed {
    /// Process id.
    pub pid: u64,
    /// Its name.
    pub name: String,
    /// Anonymous memory that it had: what the kill gives back at once.
    pub anon_bytes: Bytes,
    /// Pages of files that it mapped.
    pub file_bytes: Bytes,
    /// Shared memory that it mapped: stays until its file or segment goes.
    pub shmem_bytes: Bytes,
    /// Its address space: no memory.
    pub virtual_bytes: Option<Bytes>,
    /// Its `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
    /// Whether the OOM reaper emptied it at once.
    pub reaped: bool,
    /// Why it was this one.
    pub why: Option<String>,
}

const BIGGEST: usize = 10;

/// The table, and the biggest in it.
pub(super) fn tasks(report: &Report, page: Option<PageSize>) -> Tasks {
    let sum = |title: &str| {
        let pages = report
            .tasks
            .iter()
            .filter_map(|task| task.columns.get(title))
            .map(|pages| Pages(*pages));
        Some(pages.reduce(|a, b| a + b)?.bytes(page?))
    };
    let mut biggest: Vec<&report::Task> = report.tasks.iter().collect();
    biggest.sort_by_key(|task| std::cmp::Reverse(points(task, page)));
    Tasks {
        count: report.tasks.len(),
        rss_bytes: sum("rss"),
        anon_bytes: sum("rss_anon"),
        swap_bytes: sum("swapents"),
        biggest: biggest
            .into_iter()
            .take(BIGGEST)
            .map(|one| task(one, page))
            .collect(),
    }
}

/// `oom_badness` without the adjustment, in pages (`mm/oom_kill.c`).
fn points(task: &report::Task, page: Option<PageSize>) -> u64 {
    let get = |title: &str| task.columns.get(title).copied().unwrap_or(0);
    let tables = get("pgtables_bytes")
        .checked_div(page.map_or(4096, PageSize::get))
        .unwrap_or(0);
    let tables = [tables, get("nr_ptes"), get("nr_pmds")]
        .into_iter()
        .fold(0, u64::saturating_add);
    get("rss")
        .saturating_add(get("swapents"))
        .saturating_add(tables)
}

fn task(task: &report::Task, page: Option<PageSize>) -> Task {
    let bytes = |title: &str| Some(Pages(*task.columns.get(title)?).bytes(page?));
    let tables = task
        .columns
        .get("pgtables_bytes")
        .map(|bytes| Bytes(*bytes));
    Task {
        pid: task.pid,
        name: task.name.clone(),
        rss_bytes: bytes("rss"),
        anon_bytes: bytes("rss_anon"),
        file_bytes: bytes("rss_file"),
        shmem_bytes: bytes("rss_shmem"),
        swap_bytes: bytes("swapents"),
        page_table_bytes: tables.or_else(|| bytes("nr_ptes")),
        oom_score_adj: task.oom_score_adj,
    }
}

/// Each process once, however often it was told of.
pub(super) fn killed(report: &Report, page: Option<PageSize>) -> Vec<Killed> {
    let mut killed: Vec<Killed> = Vec::new();
    for kill in &report.kills {
        if killed.iter().all(|one| one.pid != kill.pid) {
            killed.push(one(kill, report, page));
        }
    }
    killed
}

fn one(kill: &Kill, report: &Report, page: Option<PageSize>) -> Killed {
    let bytes = |key: &str| kill.kb.get(key).map(|kb| Bytes::from_kib(*kb));
    let mut killed = Killed {
        pid: kill.pid,
        name: kill.name.clone(),
        anon_bytes: bytes("anon-rss").unwrap_or_default(),
        file_bytes: bytes("file-rss").unwrap_or_default(),
        shmem_bytes: bytes("shmem-rss").unwrap_or_default(),
        virtual_bytes: bytes("total-vm").or_else(|| bytes("vsz")),
        oom_score_adj: kill.oom_score_adj.or_else(|| {
            report
                .tasks
                .iter()
                .find(|task| task.pid == kill.pid)
                .and_then(|task| task.oom_score_adj)
        }),
        reaped: kill
            .left_kb
            .as_ref()
            .is_some_and(|left| left.get("anon-rss") == Some(&0)),
        why: None,
    };
    killed.why = why(&killed, report, page);
    killed
}

/// Why the kernel took this one: it takes the highest `oom_badness`.
fn why(killed: &Killed, report: &Report, page: Option<PageSize>) -> Option<String> {
    if report.memcg.as_ref().is_some_and(|memcg| memcg.kills_all)
        && report
            .kills
            .first()
            .is_some_and(|first| first.pid != killed.pid)
    {
        return Some("all of its group were killed (memory.oom.group)".to_owned());
    }
    let own = report.tasks.iter().find(|task| task.pid == killed.pid)?;
    // those at -1000 are never chosen
    let eligible = report
        .tasks
        .iter()
        .filter(|task| task.oom_score_adj != Some(-1000));
    let biggest = eligible.max_by_key(|task| points(task, page))?;
    let adj = killed.oom_score_adj.unwrap_or(0);
    if biggest.pid == killed.pid || points(biggest, page) == points(own, page) {
        return Some("it was the biggest that may be killed".to_owned());
    }
    let other = format!("{} (pid {}) was bigger", biggest.name, biggest.pid);
    Some(match adj {
        1.. => format!("its oom_score_adj of {adj} put it first; {other}"),
        _ => match biggest.oom_score_adj {
            Some(theirs) if theirs < adj => {
                format!("{other}, but has an oom_score_adj of {theirs}")
            }
            _ => format!("{other}; the report does not tell why it was spared"),
        },
    })
}

/// Whether the kill gave what was wanted.
pub(super) fn outcome(
    verdict: &Verdict,
    report: &Report,
    again_after_s: Option<f64>,
) -> Option<String> {
    if verdict.class == Class::AllocationFailure {
        return Some("Nobody was killed. Who asked got nothing, and may go on or not.".to_owned());
    }
    if report.nobody_to_kill {
        return Some(
            "There was nobody left that could be killed: what holds the memory is no process."
                .to_owned(),
        );
    }
    if let Some(panic) = &report.panic {
        return Some(format!("Nobody was killed; the kernel gave up: {panic}."));
    }
    let first = verdict.killed.first()?;
    let freed: Bytes = verdict.killed.iter().map(|killed| killed.anon_bytes).sum();
    let who = match verdict.killed.len() {
        1 => format!("Killing {} (pid {})", first.name, first.pid),
        count => format!("Killing {count} processes"),
    };
    let mut words = format!("{who} gave back {freed} of anonymous memory");
    words.push_str(&match verdict.class {
        Class::Sysrq => "; none was wanted".to_owned(),
        _ if in_pieces(verdict) => {
            "; whether a piece of the size that was wanted came of it depends on where those pages lay".to_owned()
        }
        _ => match wanted(verdict) {
            Some(wanted) if freed >= wanted => format!(", enough for the {wanted} that was wanted"),
            Some(wanted) => format!(", less than the {wanted} that was wanted"),
            None => String::new(),
        },
    });
    words.push('.');
    let shared: Bytes = verdict.killed.iter().map(|killed| killed.shmem_bytes).sum();
    if shared > freed && shared > Bytes::from_mib(16) {
        words.push_str(&format!(
            " {shared} of shared memory that it mapped stay until their files or segments go."
        ));
    }
    if let Some(seconds) = again_after_s.filter(|seconds| *seconds < 60.0) {
        words.push_str(&format!(
            " It did not last: {seconds:.1} s later memory ran out again."
        ));
    }
    Some(words)
}

/// Whether what was wanted is a large piece, not memory.
fn in_pieces(verdict: &Verdict) -> bool {
    let order = verdict
        .request
        .as_ref()
        .and_then(|request| request.order)
        .unwrap_or(0);
    order > 0
        && verdict
            .zones
            .iter()
            .any(|zone| zone.answer == Answer::Fragmented)
}

/// What it would have taken: the request, and for the host what the nearest zone lacks to its high watermark.
fn wanted(verdict: &Verdict) -> Option<Bytes> {
    let request = verdict.request.as_ref()?.bytes?;
    if verdict.class.is_group() {
        return Some(request);
    }
    let lacking = verdict.zones.iter().filter_map(|zone| {
        let eligible = !matches!(
            zone.answer,
            Answer::WrongZone | Answer::WrongNode | Answer::Unknown
        );
        let lack = zone.high_bytes? + zone.reserve_bytes.unwrap_or_default() - zone.usable_bytes?;
        eligible.then_some(lack)
    });
    Some(lacking.min()? + request)
}
