//! `plimsoll look`: reads, accounts, shows; once or again and again.

mod commit;
#[cfg(test)]
mod fixture;
mod forest;
mod groups;
mod host;
mod one_group;
mod one_process;
mod processes;
#[cfg(test)]
mod schema_tests;
mod slab;
#[cfg(test)]
mod tests;

use crate::args::{self, View};
use crate::captured::Captured;
use crate::failure::{Failure, Kind};
use crate::gather::{Gatherer, Wanted};
use crate::interrupt::Interrupt;
use crate::table::wrap;
use crate::terminal::{self, Terminal};
use plimsoll_ledger::look::{Look, Unseen};
use plimsoll_proc::Root;

/// Looks as asked.
pub(crate) fn run(args: &args::Look) -> Result<(), Failure> {
    if args.by.is_some() && args.view != Some(View::Processes) {
        let failure = Failure::message(Kind::Usage, "--by adds processes up");
        return Err(failure.hint("plimsoll look processes --by user"));
    }
    let captured = args
        .root
        .as_deref()
        .map(|path| Captured::open(path, args.at))
        .transpose()?;
    let live = Root::live();
    let root = captured.as_ref().map_or(&live, |captured| &captured.root);
    let mut gatherer = Gatherer::new(root)?;
    let mut interrupt = args.watch.map(|_| Interrupt::catch()).transpose()?;
    loop {
        let mut look = gatherer.look(&Wanted::of(args))?;
        if let Some(View::Process(pid)) = args.view {
            narrow(&mut look, pid, &gatherer)?;
        }
        let shown = if args.json {
            json(&look, args.watch.is_some())?
        } else {
            text(&look, args)?
        };
        terminal::print(&shown)?;
        let (Some(pause), Some(interrupt)) = (args.watch, &mut interrupt) else {
            return Ok(());
        };
        if interrupt.came_within(pause)? {
            // The terminal has written ^C where the cursor stood.
            if Terminal::of_stdout().is_screen() {
                terminal::print("\n")?;
            }
            return Ok(());
        }
    }
}

/// Of all processes only this one, with what it maps.
fn narrow(look: &mut Look, pid: u32, gatherer: &Gatherer<'_>) -> Result<(), Failure> {
    look.processes.retain(|process| process.pid == pid);
    let process = look.processes.first_mut();
    let process =
        process.ok_or_else(|| Failure::message(Kind::Failed, format_args!("no process {pid}")))?;
    process.mapped = gatherer.mappings(pid);
    Ok(())
}

fn text(look: &Look, args: &args::Look) -> Result<String, Failure> {
    let terminal = Terminal::of_stdout();
    let mut text = view(look, args, &terminal)?;
    if args.watch.is_some() && terminal.is_screen() {
        text.push_str(&unseen_count(&look.unseen));
        return Ok(in_place(&text));
    }
    text.push_str(&unseen(&look.unseen, &terminal));
    Ok(text)
}

fn view(look: &Look, args: &args::Look, terminal: &Terminal) -> Result<String, Failure> {
    Ok(match &args.view {
        None => host::view(&look.host, args.explain, terminal),
        Some(View::Processes) => processes::view(&look.processes, args.by, terminal),
        Some(View::Groups) => groups::view(&look.groups, args.explain, terminal),
        Some(View::Commit) => match &look.commit {
            Some(account) => commit::view(account, args.explain, terminal),
            None => "The commit account could not be read.\n".to_owned(),
        },
        Some(View::Slab) => slab::view(&look.host, terminal),
        Some(View::Process(_)) => look.processes.iter().fold(String::new(), |text, process| {
            text + &one_process::view(process, terminal)
        }),
        Some(View::Group(path)) => one_group::view(look, path, args.explain, terminal)?,
    })
}

/// One document, on one line where more follow.
fn json(look: &Look, many: bool) -> Result<String, Failure> {
    let written = if many {
        serde_json::to_string(look)
    } else {
        serde_json::to_string_pretty(look)
    };
    let mut text = written.map_err(|error| Failure::new(Kind::Fault, error))?;
    text.push('\n');
    Ok(text)
}

/// What was not seen; empty when all was.
fn unseen(unseen: &[Unseen], terminal: &Terminal) -> String {
    const INDENT: usize = 2;
    let mut text = String::new();
    for Unseen { what, why } in unseen {
        let line = format!("{what}: {why}");
        for part in wrap(&line, 2 * INDENT, terminal) {
            let first = line.starts_with(part);
            text.push_str(&" ".repeat(if first { INDENT } else { 2 * INDENT }));
            text.push_str(part);
            text.push('\n');
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\nNot seen:\n{text}")
    }
}

/// The same on one line, where the screen belongs to the view.
fn unseen_count(unseen: &[Unseen]) -> String {
    match unseen.len() {
        0 => String::new(),
        count => format!("Not seen: {count}, named when looked at without --watch\n"),
    }
}

/// Draws over what was there before: every line is cleared behind its end, and all below the last. The cursor is not hidden
/// and stays below the text, so there is nothing to put back at the end.
fn in_place(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}
