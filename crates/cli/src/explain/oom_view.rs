//! OOM reports for people: the verdict first, then the figures it stands on.

use super::paragraphs::{heading, item, line, unbounded};
use crate::table::{Align, Cell, Table};
use crate::terminal::{Colour, Terminal};
use plimsoll_explain::oom::{Answer, Comparison, Document, Group, Memory, Tasks, Verdict, Zone};
use plimsoll_units::Bytes;

/// Shown by name; smaller ones are counted.
const OWNERS: usize = 12;
const TASKS: usize = 5;
const CACHES: usize = 5;
const PARTS: usize = 8;

/// All of a document.
pub(super) fn view(document: &Document, terminal: &Terminal) -> String {
    if document.reports.is_empty() {
        return line(
            &format!(
                "No OOM report and no page allocation failure in {}.",
                document.source
            ),
            0,
            terminal,
        );
    }
    let mut text = String::new();
    let count = document.reports.len();
    for (at, verdict) in document.reports.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let title = title(verdict, at + 1, count, &document.source);
        text.push_str(&terminal.paint(Colour::Strong, line(&title, 0, terminal).trim_end()));
        text.push('\n');
        text.push_str(&one(verdict, terminal));
    }
    if let Some(comparison) = &document.comparison {
        text.push_str(&compared(comparison, terminal));
    }
    text
}

fn title(verdict: &Verdict, number: usize, count: usize, source: &str) -> String {
    let kernel = verdict
        .kernel
        .as_ref()
        .map(|kernel| format!(", Linux {kernel}"))
        .unwrap_or_default();
    let time = verdict
        .time_s
        .map(|time| format!(", {time:.1} s after boot"))
        .unwrap_or_default();
    format!(
        "Report {number} of {count} in {source}, lines {} to {}{time}{kernel}",
        verdict.first_line, verdict.last_line
    )
}

fn one(verdict: &Verdict, terminal: &Terminal) -> String {
    let mut text = line(&verdict.headline, 0, terminal);
    if let Some(request) = &verdict.request {
        heading(&mut text, "What was asked for", terminal);
        text.push_str(&line(&request.words, 2, terminal));
        if request.gfp_mask.is_some() {
            let names = if request.gfp.is_empty() {
                String::new()
            } else {
                format!(" ({})", request.gfp.join("|"))
            };
            let mask = format!(
                "gfp mask {:#x}{names}, highest zone {}",
                request.gfp_mask.unwrap_or(0),
                request.highest_zone
            );
            text.push_str(&line(&mask, 2, terminal));
        }
    }
    if !verdict.zones.is_empty() {
        heading(&mut text, "Why no zone served it", terminal);
        text.push_str(&zones(&verdict.zones, terminal));
    }
    if let Some(group) = &verdict.group {
        heading(&mut text, "What the group held", terminal);
        text.push_str(&of_group(group, terminal));
    }
    if let Some(memory) = &verdict.memory {
        heading(
            &mut text,
            &format!("Where the memory was, of {}", memory.total_bytes),
            terminal,
        );
        text.push_str(&owners(memory, terminal));
    }
    if let Some(cache) = verdict
        .slab
        .first()
        .filter(|cache| cache.bytes > Bytes::from_mib(1))
    {
        heading(
            &mut text,
            "Object caches that can't be given back",
            terminal,
        );
        let named = verdict
            .slab
            .iter()
            .take(CACHES)
            .filter(|one| one.bytes.get() * 50 > cache.bytes.get());
        text.push_str(&amounts(
            named.map(|cache| (cache.bytes, cache.name.clone())),
            terminal,
        ));
    }
    if verdict.tasks.count > 0 {
        heading(
            &mut text,
            &format!("The biggest of {} tasks", verdict.tasks.count),
            terminal,
        );
        text.push_str(&tasks(&verdict.tasks, terminal));
    }
    killed(&mut text, verdict, terminal);
    if !verdict.remedies.is_empty() {
        heading(&mut text, "What would have avoided it", terminal);
        for remedy in &verdict.remedies {
            text.push_str(&item(remedy, terminal));
        }
    }
    not_understood(&mut text, verdict, terminal);
    text
}

fn zones(zones: &[Zone], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("FREE", Align::Right),
        ("MIN", Align::Right),
        ("HIGH", Align::Right),
        ("RESERVE", Align::Right),
        ("", Align::Left),
    ])
    .notes_under(1);
    for zone in zones {
        let bytes = |bytes: Option<Bytes>| {
            Cell::from(bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()))
        };
        let mark = match zone.answer {
            Answer::Fits => "fits",
            Answer::BelowHigh => "below high",
            Answer::BelowMin => "below min",
            Answer::Reserved => "reserved",
            Answer::OtherKinds => "other kinds",
            Answer::Fragmented => "fragmented",
            Answer::WrongZone => "wrong zone",
            Answer::WrongNode => "wrong node",
            Answer::Unknown => "unknown",
        };
        let name = Cell::from(format!("  node {} {}", zone.node, zone.name));
        table.row([
            name,
            Cell::from(zone.free_bytes),
            bytes(zone.min_bytes),
            bytes(zone.high_bytes),
            bytes(zone.reserve_bytes),
            Cell::from(mark),
        ]);
        table.note(&zone.words);
        if let Some((extfrag, unusable)) = zone.extfrag_index.zip(zone.unusable_index) {
            table.note(format!(
                "extfrag index {extfrag}, unusable index {unusable}"
            ));
        }
    }
    table.render(&unbounded(terminal), 0)
}

fn of_group(group: &Group, terminal: &Terminal) -> String {
    let mut text = amounts(
        group
            .parts
            .iter()
            .take(PARTS)
            .map(|part| (part.bytes, part.name.clone())),
        terminal,
    );
    let bytes = |bytes: Option<Bytes>, none: &str| {
        bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string())
    };
    text.push_str(&line(
        &format!(
            "RAM {} of {}; swap {} of {}",
            bytes(group.usage_bytes, "?"),
            bytes(group.limit_bytes, "no limit"),
            bytes(group.swap_bytes, "?"),
            bytes(group.swap_limit_bytes, "no limit")
        ),
        2,
        terminal,
    ));
    text
}

fn owners(memory: &Memory, terminal: &Terminal) -> String {
    let named = memory
        .owners
        .iter()
        .take(OWNERS)
        .map(|owner| (owner.bytes, owner.name.clone()));
    let others: Bytes = memory
        .owners
        .iter()
        .skip(OWNERS)
        .map(|owner| owner.bytes)
        .sum();
    let others = (others > Bytes::ZERO).then(|| (others, "others".to_owned()));
    let mut text = amounts(named.chain(others), terminal);
    let unnamed = memory.unattributed_bytes;
    let sign = if unnamed < 0 { "-" } else { "" };
    let amount = format!("{sign}{}", Bytes(unnamed.unsigned_abs()));
    text.push_str(&format!("{amount:>12}  in no line of the report\n"));
    text
}

fn tasks(tasks: &Tasks, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("  PID", Align::Right),
        ("RSS", Align::Right),
        ("ANON", Align::Right),
        ("SWAP", Align::Right),
        ("ADJ", Align::Right),
        ("NAME", Align::Left),
    ]);
    for task in tasks.biggest.iter().take(TASKS) {
        let bytes = |bytes: Option<Bytes>| {
            Cell::from(bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()))
        };
        let adj = task
            .oom_score_adj
            .map_or_else(|| "-".to_owned(), |adj| adj.to_string());
        table.row([
            Cell::from(format!("  {}", task.pid)),
            bytes(task.rss_bytes),
            bytes(task.anon_bytes),
            bytes(task.swap_bytes),
            Cell::from(adj),
            Cell::from(&task.name),
        ]);
    }
    table.render(&unbounded(terminal), 0)
}

fn killed(text: &mut String, verdict: &Verdict, terminal: &Terminal) {
    if verdict.killed.is_empty() && verdict.outcome.is_none() {
        return;
    }
    heading(text, "Who was killed", terminal);
    for killed in &verdict.killed {
        let why = killed
            .why
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        text.push_str(&item(
            &format!(
                "{} (pid {}), {} anonymous{why}",
                killed.name, killed.pid, killed.anon_bytes
            ),
            terminal,
        ));
    }
    if let Some(outcome) = &verdict.outcome {
        text.push_str(&line(outcome, 2, terminal));
    }
}

fn not_understood(text: &mut String, verdict: &Verdict, terminal: &Terminal) {
    if !verdict.missing.is_empty() {
        heading(text, "Not in the report", terminal);
        text.push_str(&line(&verdict.missing.join("; "), 2, terminal));
    }
    if !verdict.quoted.is_empty() {
        heading(text, "Lines in between that are not understood", terminal);
        for quote in &verdict.quoted {
            text.push_str(&line(
                &format!("{}: {}", quote.line, quote.text),
                2,
                terminal,
            ));
        }
        if verdict.not_quoted > 0 {
            text.push_str(&line(
                &format!("and {} more", verdict.not_quoted),
                2,
                terminal,
            ));
        }
    }
}

fn compared(comparison: &Comparison, terminal: &Terminal) -> String {
    let mut text = String::new();
    heading(&mut text, "Against the other report", terminal);
    for words in &comparison.words {
        text.push_str(&item(words, terminal));
    }
    if comparison.words.is_empty() {
        text.push_str(&line("no difference beyond a hundredth", 2, terminal));
    }
    text
}

fn amounts(rows: impl Iterator<Item = (Bytes, String)>, terminal: &Terminal) -> String {
    let mut text = String::new();
    for (bytes, name) in rows {
        let row = format!("{:>12}  {name}", bytes.to_string());
        text.push_str(&crate::table::cut(
            &row,
            terminal.columns.unwrap_or(usize::MAX),
            terminal.ellipsis(),
        ));
        text.push('\n');
    }
    text
}
