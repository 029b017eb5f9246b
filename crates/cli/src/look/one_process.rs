//! One process for people: its row, and what it maps, the fullest first.

use super::processes;
use crate::table::{Align, Table};
use crate::terminal::Terminal;
use plimsoll_ledger::look::Process;
use plimsoll_ledger::mappings::Part;

/// The process, and its mappings by what they are.
pub(super) fn view(process: &Process, terminal: &Terminal) -> String {
    let mapped = match &process.mapped {
        Some(parts) => mapped(parts, terminal),
        None => UNREADABLE.to_owned(),
    };
    processes::one(process, terminal) + "\n" + &mapped
}

const UNREADABLE: &str = "Its mappings can't be read: only root and its user may, and nobody where the process denies it.\n";

/// Titles and row of the process, a blank line, and the line on which the prompt comes to stand.
const LINES_AROUND: usize = 4;

fn mapped(parts: &[Part], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("RSS", Align::Right),
        ("PSS", Align::Right),
        ("ANON", Align::Right),
        ("SWAP", Align::Right),
        ("SPAN", Align::Right),
        ("COUNT", Align::Right),
        ("MAPPED", Align::Left),
    ]);
    for part in parts {
        table.row([
            part.rss_bytes.into(),
            part.pss_bytes.into(),
            part.anon_bytes.into(),
            part.swap_bytes.into(),
            part.size_bytes.into(),
            part.count.into(),
            part.name.as_str().into(),
        ]);
    }
    table.render(terminal, LINES_AROUND)
}
