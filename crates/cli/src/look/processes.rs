//! Processes for people: one a line, or put together by cgroup, user or tree.

use super::forest::Forest;
use crate::args::By;
use crate::table::{Align, Table, paragraph};
use crate::terminal::Terminal;
use plimsoll_ledger::look::Process;
use plimsoll_units::Bytes;
use std::collections::HashMap;

/// The table of processes, largest first.
pub(super) fn view(processes: &[Process], by: Option<By>, terminal: &Terminal) -> String {
    match by {
        None => one_by_one(processes, terminal),
        Some(By::Cgroup) => together(
            processes,
            "CGROUP",
            |process| process.cgroup.clone(),
            terminal,
        ),
        Some(By::User) => together(processes, "USER", |process| process.user.clone(), terminal),
        Some(By::Tree) => trees(processes, terminal),
    }
}

/// What a process, or several together, hold.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    count: usize,
    anon: Bytes,
    swap: Bytes,
    rss: Bytes,
    /// `None` once one of them is not known.
    pss: Option<Bytes>,
}

impl Held {
    fn of(process: &Process) -> Self {
        Self {
            count: 1,
            anon: process.anon_bytes,
            swap: process.swap_bytes,
            rss: process.rss_bytes,
            pss: process.pss_bytes,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            anon: self.anon + other.anon,
            swap: self.swap + other.swap,
            rss: self.rss + other.rss,
            pss: match (self.pss, other.pss) {
                (Some(one), Some(two)) => Some(one + two),
                _ => None,
            },
        }
    }

    fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().reduce(Self::and).unwrap_or_default()
    }

    /// Ascending by what would come free: sort by this for largest first.
    fn descending(&self) -> std::cmp::Reverse<Bytes> {
        std::cmp::Reverse(self.anon + self.swap)
    }
}

fn pss_text(pss: Option<Bytes>) -> String {
    pss.map_or_else(|| "-".to_owned(), |pss| pss.to_string())
}

/// Whether the column for proportional shares is wanted.
fn has_pss(processes: &[Process]) -> bool {
    processes.iter().any(|process| process.pss_bytes.is_some())
}

fn one_by_one(processes: &[Process], terminal: &Terminal) -> String {
    let pss = has_pss(processes);
    let mut table = rows(processes, pss);
    let sum = Held::sum(processes.iter().map(Held::of));
    let mut foot = vec![
        "".into(),
        "".into(),
        sum.anon.into(),
        sum.swap.into(),
        "".into(),
        format!("{} processes", sum.count).into(),
    ];
    if pss {
        foot.insert(5, pss_text(sum.pss).into());
    }
    table.foot(foot);
    let legend = paragraph(LEGEND, terminal);
    table.render(terminal, legend.lines().count() + 1) + &legend
}

/// A single process on its line.
pub(super) fn one(process: &Process, terminal: &Terminal) -> String {
    rows(std::slice::from_ref(process), process.pss_bytes.is_some()).render(terminal, 0)
}

fn rows(processes: &[Process], pss: bool) -> Table {
    let mut columns = vec![
        ("PID", Align::Right),
        ("USER", Align::Left),
        ("ANON", Align::Right),
        ("SWAP", Align::Right),
        ("RSS", Align::Right),
        ("COMMAND", Align::Left),
    ];
    if pss {
        columns.insert(5, ("PSS", Align::Right));
    }
    let mut table = Table::new(&columns);
    for process in processes {
        let mut cells = vec![
            process.pid.into(),
            process.user.as_str().into(),
            process.anon_bytes.into(),
            process.swap_bytes.into(),
            process.rss_bytes.into(),
            process.command.as_str().into(),
        ];
        if pss {
            cells.insert(5, pss_text(process.pss_bytes).into());
        }
        table.row(cells);
    }
    table
}

const LEGEND: &str = "\
ANON + SWAP is each process's own; RSS counts shared pages once for every process that maps them, so it has no sum.
";

/// All processes that have `key` in common on one line.
fn together(
    processes: &[Process],
    title: &'static str,
    key: impl Fn(&Process) -> String,
    terminal: &Terminal,
) -> String {
    let mut all: HashMap<String, Held> = HashMap::new();
    for process in processes {
        let held = Held::of(process);
        all.entry(key(process))
            .and_modify(|sum| *sum = sum.and(held))
            .or_insert(held);
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|(one, a), (two, b)| {
        a.descending()
            .cmp(&b.descending())
            .then_with(|| one.cmp(two))
    });
    let mut table = sums_table(title, has_pss(processes));
    for (name, held) in &all {
        table.row(sums_row(held, has_pss(processes), name));
    }
    table.render(terminal, 1)
}

fn sums_table(title: &'static str, pss: bool) -> Table {
    let mut columns = vec![
        ("ANON", Align::Right),
        ("SWAP", Align::Right),
        ("PROCESSES", Align::Right),
        (title, Align::Left),
    ];
    if pss {
        columns.insert(2, ("PSS", Align::Right));
    }
    Table::new(&columns)
}

fn sums_row(held: &Held, pss: bool, name: &str) -> Vec<crate::table::Cell> {
    let mut cells = vec![
        held.anon.into(),
        held.swap.into(),
        held.count.into(),
        name.into(),
    ];
    if pss {
        cells.insert(2, pss_text(held.pss).into());
    }
    cells
}

/// Every process with all its descendants, children below their parents.
fn trees(processes: &[Process], terminal: &Terminal) -> String {
    let parents: Vec<_> = processes
        .iter()
        .map(|process| (process.pid, process.ppid))
        .collect();
    let forest = Forest::of(&parents);
    let own: Vec<_> = processes.iter().map(Held::of).collect();
    let held = forest.sums(&own, Held::and);
    let mut table = sums_table("TREE", has_pss(processes));
    for (at, depth) in forest.in_order(|at| held.get(at).map(Held::descending)) {
        if let (Some(process), Some(held)) = (processes.get(at), held.get(at)) {
            let name = format!("{}{} {}", "  ".repeat(depth), process.pid, process.command);
            table.row(sums_row(held, has_pss(processes), &name));
        }
    }
    table.render(terminal, 1)
}
