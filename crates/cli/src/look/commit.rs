//! The commit account for people: what the kernel has promised, what of it is not used, and what it never counted.

use crate::table::{Align, Table};
use crate::terminal::Terminal;
use plimsoll_ledger::look::{Commit, CommitProcess, Policy};
use plimsoll_units::Bytes;

/// Sums, then processes with what was promised to each.
pub(super) fn view(commit: &Commit, explain: bool, terminal: &Terminal) -> String {
    let mut sums = Table::new(&[("", Align::Right), ("", Align::Left)]);
    let mut line = |size: String, words: &str, plain: &str| {
        sums.row([size.into(), words.into()]);
        if explain {
            sums.note(plain);
        }
    };
    line(
        commit.committed_bytes.to_string(),
        "committed (Committed_AS)",
        "what the kernel would have to find if every program used all that it was promised",
    );
    line(
        commit.limit_bytes.to_string(),
        "limit (CommitLimit)",
        "only policy 2 (strict) heeds it",
    );
    if let Some(recomputed) = commit.recomputed_bytes {
        line(
            recomputed.to_string(),
            "recomputed from every mapping",
            "mappings that carry `ac`, shared memory, and segments charged in full size",
        );
    }
    if let Some(unexplained) = commit.unexplained_bytes {
        line(
            signed(unexplained),
            &format!("unexplained{}", unread(commit)),
            "the difference: mappings that were not read, and what changed while the others were",
        );
    }
    if let Some(outside) = commit.anon_outside_bytes {
        line(
            outside.to_string(),
            "anonymous memory that Committed_AS does not see",
            "it lies in mappings without `ac`, made with MAP_NORESERVE",
        );
    }
    let mut text = format!("Policy: {}\n", policy(commit.policy));
    text.push_str(&sums.render(
        &Terminal {
            rows: None,
            ..*terminal
        },
        0,
    ));
    if !commit.processes.is_empty() {
        text.push('\n');
        text.push_str(&processes(commit, terminal));
    }
    text
}

/// What of the unexplained processes that were not read may account for.
fn unread(commit: &Commit) -> String {
    let at_most = commit.unread_at_most();
    match commit.unreadable.as_slice() {
        [] => String::new(),
        [one] => format!(
            "; process {}, not read, accounts for at most {at_most}",
            one.pid
        ),
        all => format!(
            "; {} processes, not read, account for at most {at_most}",
            all.len()
        ),
    }
}

/// Policy, sums, a blank line, the count of small processes, and the line on which the prompt comes to stand.
const LINES_AROUND: usize = 8;

/// A process is shown where it commits, without using it, or uses, without committing it, this part of all that is
/// committed, or a mebibyte where that is more.
const WORTH_A_ROW: u64 = 1000;

fn processes(commit: &Commit, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("PID", Align::Right),
        ("CHARGED", Align::Right),
        ("NOT RESIDENT", Align::Right),
        ("UNSEEN ANON", Align::Right),
        ("COMMAND", Align::Left),
    ])
    .notes_under(1);
    let least = Bytes::from_mib(1).max(Bytes(commit.committed_bytes.get() / WORTH_A_ROW));
    let matters = |process: &&CommitProcess| {
        let surprise = process
            .charged_not_resident_bytes
            .max(process.anon_outside_bytes);
        surprise >= least
    };
    let (shown, small): (Vec<_>, Vec<_>) = commit.processes.iter().partition(matters);
    for process in shown {
        table.row([
            process.pid.into(),
            process.charged_bytes.into(),
            process.charged_not_resident_bytes.into(),
            process.anon_outside_bytes.into(),
            process.command.as_str().into(),
        ]);
        for shape in &process.shapes {
            table.note(shape.as_str());
        }
    }
    if !small.is_empty() {
        let sum = |what: fn(&CommitProcess) -> Bytes| -> Bytes {
            small.iter().map(|process| what(process)).sum()
        };
        table.foot([
            "".into(),
            sum(|process| process.charged_bytes).into(),
            sum(|process| process.charged_not_resident_bytes).into(),
            sum(|process| process.anon_outside_bytes).into(),
            format!("{} others, each below {least}", small.len()).into(),
        ]);
    }
    table.render(terminal, LINES_AROUND)
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Heuristic => {
            "0, heuristic: only a single request beyond all of RAM and swap is refused"
        }
        Policy::Always => "1, always: nothing is refused",
        Policy::Strict => "2, strict: nothing beyond the limit is promised",
    }
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", Bytes(bytes.unsigned_abs()))
}
