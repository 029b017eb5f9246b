//! The tables: tasks, object caches, allocations by place.

use super::cut::{leading_signed, shown};
use super::{Allocation, Report, SlabCache, Task};
use plimsoll_proc::text::{number, words};

/// The title line of the table of tasks, whatever its columns.
pub(super) fn task_title(report: &mut Report, text: &[u8]) -> bool {
    if text.starts_with(b"Tasks state (memory values in pages):") {
        return true;
    }
    if !text.starts_with(b"[") || !text.ends_with(b" name") {
        return false;
    }
    let titles: Vec<String> = words(text)
        .map(shown)
        .filter(|word| word != "[" && word != "]")
        .collect();
    let titles = titles
        .into_iter()
        .map(|title| title.trim_matches(['[', ']']).to_owned())
        .filter(|title| !title.is_empty());
    report.task_columns = titles.collect();
    report
        .task_columns
        .first()
        .is_some_and(|first| first == "pid")
}

/// `[    148]     0   148     4661 … 0 dd`: as many numbers as there are titles, then a name that may have blanks in it.
pub(super) fn task(report: &mut Report, text: &[u8]) -> bool {
    let Some(row) = row(text, &report.task_columns) else {
        return false;
    };
    report.tasks.push(row);
    true
}

fn row(text: &[u8], titles: &[String]) -> Option<Task> {
    let rest = text.strip_prefix(b"[")?;
    let close = memchr::memchr(b']', rest)?;
    let mut task = Task {
        pid: number(rest.get(..close)?.trim_ascii())?,
        ..Task::default()
    };
    let mut rest = rest.get(close + 1..)?;
    let numbers = titles.get(1..titles.len().checked_sub(1)?)?;
    for title in numbers {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        let (word, behind) = rest.split_at_checked(end)?;
        rest = behind;
        match title.as_str() {
            "oom_score_adj" => task.oom_score_adj = Some(leading_signed(word)?),
            "oom_adj" => task.oom_score_adj = task.oom_score_adj.or(Some(leading_signed(word)?)),
            _ => {
                task.columns.insert(title.clone(), number(word)?);
            }
        }
    }
    task.name = shown(rest);
    Some(task)
}

/// `ebitmap_node             626KB        641KB`, below `Name Used Total`.
pub(super) fn slab(report: &mut Report, text: &[u8]) -> bool {
    let mut fields = words(text);
    let (Some(name), Some(used), Some(total), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    if (name, used, total) == (b"Name", b"Used", b"Total") {
        return true;
    }
    let kb = |word: &[u8]| number(word.strip_suffix(b"KB")?);
    let (Some(used_kb), Some(total_kb)) = (kb(used), kb(total)) else {
        return false;
    };
    report.slab.push(SlabCache {
        name: shown(name),
        used_kb,
        total_kb,
    });
    true
}

/// `     1.20 GiB   300000 mm/slub.c:3035 func:alloc_slab_page` (`Documentation/mm/allocation-profiling.rst`).
pub(super) fn allocation(report: &mut Report, text: &[u8]) -> bool {
    let Some(allocation) = allocation_row(text) else {
        return false;
    };
    report.allocations.push(allocation);
    true
}

fn allocation_row(text: &[u8]) -> Option<Allocation> {
    super::cut::after(text, b" func:")?;
    let mut fields = words(text);
    let size = std::str::from_utf8(fields.next()?).ok()?;
    let next = std::str::from_utf8(fields.next()?).ok()?;
    let (bytes, calls) = match next.parse() {
        Ok(calls) => (size.parse().ok()?, calls),
        Err(_) => {
            let bytes: plimsoll_units::Bytes = format!("{size}{next}").parse().ok()?;
            (bytes.get(), number(fields.next()?)?)
        }
    };
    let place: Vec<String> = fields.map(shown).collect();
    Some(Allocation {
        bytes,
        calls,
        place: place.join(" "),
    })
}
