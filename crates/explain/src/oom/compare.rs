//! One report held against another: what grew, what shrank, what is otherwise.

use super::Verdict;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// Two reports beside one another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// In words, the most telling first.
    pub words: Vec<String>,
    /// Owners of memory, or the parts of a group, by how much they differ.
    pub memory: Vec<Change>,
    /// The same of tasks, by name.
    pub tasks: Vec<Change>,
}

/// A thing in both reports, or in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub name: String,
    /// In the second report.
    pub before_bytes: Bytes,
    /// In the first.
    pub now_bytes: Bytes,
}

impl Change {
    /// How much more there is now.
    #[must_use]
    pub fn grown(&self) -> i64 {
        self.now_bytes.signed_sub(self.before_bytes)
    }
}

/// `now` against `before`.
#[must_use]
pub fn compare(now: &Verdict, before: &Verdict) -> Comparison {
    let memory = changes(&held(now), &held(before));
    let tasks = changes(&tasks(now), &tasks(before));
    let mut words = Vec::new();
    if now.class != before.class {
        words.push(format!(
            "another kind: {}; before, {}",
            now.class.words(),
            before.class.words()
        ));
    }
    let order = |verdict: &Verdict| verdict.request.as_ref().and_then(|request| request.order);
    if let (Some(now), Some(before)) = (order(now), order(before))
        && now != before
    {
        words.push(format!(
            "a request of order {now}; before, of order {before}"
        ));
    }
    for change in memory.iter().take(3) {
        words.push(told(change));
    }
    for change in tasks.iter().take(2) {
        words.push(told(change));
    }
    Comparison {
        words,
        memory,
        tasks,
    }
}

fn told(change: &Change) -> String {
    let by = Bytes(change.grown().unsigned_abs());
    let direction = if change.grown() >= 0 { "more" } else { "less" };
    format!(
        "{}: {by} {direction} ({} against {})",
        change.name, change.now_bytes, change.before_bytes
    )
}

fn held(verdict: &Verdict) -> BTreeMap<String, Bytes> {
    let owners = verdict.memory.iter().flat_map(|memory| {
        memory
            .owners
            .iter()
            .map(|owner| (owner.name.clone(), owner.bytes))
    });
    let unnamed = verdict.memory.iter().map(|memory| {
        let bytes = u64::try_from(memory.unattributed_bytes).unwrap_or(0);
        ("named by no line".to_owned(), Bytes(bytes))
    });
    let parts = verdict.group.iter().flat_map(|group| {
        group
            .parts
            .iter()
            .map(|part| (part.name.clone(), part.bytes))
    });
    owners.chain(unnamed).chain(parts).collect()
}

/// Tasks of one name together: their process ids differ from boot to boot.
fn tasks(verdict: &Verdict) -> BTreeMap<String, Bytes> {
    let mut by_name = BTreeMap::new();
    for task in &verdict.tasks.biggest {
        let bytes: &mut Bytes = by_name.entry(task.name.clone()).or_default();
        *bytes += task.rss_bytes.unwrap_or_default() + task.swap_bytes.unwrap_or_default();
    }
    by_name
}

/// What differs by more than a hundredth of the larger of both sums, most first.
fn changes(now: &BTreeMap<String, Bytes>, before: &BTreeMap<String, Bytes>) -> Vec<Change> {
    let get =
        |all: &BTreeMap<String, Bytes>, name: &str| all.get(name).copied().unwrap_or_default();
    let sum = |all: &BTreeMap<String, Bytes>| all.values().copied().sum::<Bytes>();
    let least = sum(now).max(sum(before)).get() / 100;
    let names = now
        .keys()
        .chain(before.keys().filter(|name| !now.contains_key(*name)));
    let all = names.map(|name| Change {
        name: name.clone(),
        before_bytes: get(before, name),
        now_bytes: get(now, name),
    });
    let mut changes: Vec<_> = all
        .filter(|change| change.grown().unsigned_abs() > least)
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.grown().unsigned_abs()));
    changes
}
