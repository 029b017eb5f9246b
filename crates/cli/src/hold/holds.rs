//! `plimsoll holds`: what is held, for people and for programs.

use super::args::Holds;
use crate::failure::Failure;
use crate::park::json_line;
use crate::table::{Align, Cell, Table};
use crate::terminal::{self, Terminal};
use plimsoll_hold::host::Host;
use plimsoll_hold::record::Records;
use plimsoll_hold::show::{self, Counter, Document, Shown};
use plimsoll_hold::{HoldError, holding};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;

/// Shows what is held.
pub(crate) fn holds(args: &Holds) -> Result<(), Failure> {
    let root = Root::live();
    let records = Records::of_this_user()?;
    let mut living = holding::living(&root, &records)?;
    if let Some(name) = &args.name {
        living.retain(|record| record.name == *name);
        if living.is_empty() {
            return Err(HoldError::NoSuchHold { name: name.clone() }.into());
        }
    }
    let mut document = Document {
        schema: show::SCHEMA,
        holds: Vec::new(),
    };
    if !living.is_empty() {
        let host = Host::read(&root)?;
        for record in &living {
            document
                .holds
                .extend(show::show(&root, &host.memory, record)?);
        }
    }
    let text = if args.json {
        json_line(&document)?
    } else {
        view(&document, &Terminal::of_stdout())
    };
    terminal::print(&text)?;
    Ok(())
}

fn view(document: &Document, terminal: &Terminal) -> String {
    if document.holds.is_empty() {
        return "Nothing is held\n".to_owned();
    }
    let mut text = String::new();
    for hold in &document.holds {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &one(hold, terminal);
    }
    text
}

fn one(hold: &Shown, terminal: &Terminal) -> String {
    let processes = hold.processes.unwrap_or_default();
    let numbers = hold.numbers;
    let mut text = format!(
        "{}: {} of RAM, {} of swap; {processes} process(es) in {}\n",
        hold.name, numbers.ram, numbers.swap, hold.group
    );
    let mut table = Table::new(&[
        ("RESOURCE", Align::Left),
        ("HELD", Align::Right),
        ("MAXHELD", Align::Right),
        ("LIMIT", Align::Right),
        ("EVENTS", Align::Left),
    ]);
    for counter in &hold.counters {
        let sizes = [
            counter.held_bytes,
            counter.max_held_bytes,
            counter.limit_bytes,
        ];
        let mut cells = vec![Cell::from(counter.resource)];
        cells.extend(sizes.map(size));
        cells.push(events(counter).into());
        table.row(cells);
        if counter.resource == "ram" {
            for (kind, bytes) in kinds(hold) {
                let empty = || Cell::from("");
                table.row([
                    format!("  {kind}").into(),
                    size(bytes),
                    empty(),
                    empty(),
                    empty(),
                ]);
            }
        }
    }
    text += &table.render(terminal, 2);
    text += &match &hold.pressure {
        Some(waited) => format!(
            "waited for memory: {:.1} % of the last 10 s, {:.1} % of the last minute (all of it at once: {:.1} %, {:.1} %)\n",
            waited.some_10s_percent,
            waited.some_60s_percent,
            waited.full_10s_percent,
            waited.full_60s_percent
        ),
        None => "how long it waited for memory is not counted here\n".to_owned(),
    };
    text
}

fn kinds(hold: &Shown) -> [(&'static str, Option<Bytes>); 4] {
    let held = hold.held;
    [
        ("user", held.user_bytes),
        ("kernel", held.kernel_bytes),
        ("page cache", held.page_cache_bytes),
        ("dentries", held.dentry_inode_bytes),
    ]
}

fn size(bytes: Option<Bytes>) -> Cell {
    bytes.map_or_else(|| Cell::from("-"), Cell::from)
}

/// Those that happened; a beancounter's failcnt of 0 is said once.
fn events(counter: &Counter) -> String {
    let happened = counter.events.iter().filter(|event| event.count > 0);
    let words: Vec<String> = happened
        .map(|event| format!("{} {}", event.event, event.count))
        .collect();
    if words.is_empty() {
        "0".to_owned()
    } else {
        words.join(", ")
    }
}
