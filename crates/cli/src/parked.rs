//! `plimsoll parked`: what is parked on this host, by this user.

use crate::args;
use crate::failure::Failure;
use crate::park::{json_line, place};
use crate::terminal;
use crate::wake;
use plimsoll_park::ParkError;
use plimsoll_park::known::{self, Standing};
use plimsoll_park::runtime::{Record, Runtime};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::time::SystemTime;

/// Shows what is parked.
pub(crate) fn run(args: &args::Parked) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    let records = known::living(&runtime, &root)?;
    known::sweep(&root, &runtime, &place(&[]))?;
    wake::ensure(&runtime);
    let mut trees = Vec::new();
    for record in &records {
        let standing = known::standing(&runtime, record)?;
        let wakes = wake::Told::of(&runtime, record)?;
        trees.push(tree(record, standing, wakes));
    }
    if args.json {
        let document = Told {
            schema: "plimsoll.parked/1",
            trees,
        };
        terminal::print(&json_line(&document)?)?;
        return Ok(());
    }
    if trees.is_empty() {
        terminal::print("Nothing is parked\n")?;
    }
    for tree in &trees {
        terminal::print(&line(tree))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Told<'r> {
    schema: &'static str,
    trees: Vec<Tree<'r>>,
}

#[derive(Serialize)]
struct Tree<'r> {
    pid: u32,
    comm: String,
    processes: Vec<u32>,
    state: Standing,
    via: &'static str,
    store: Option<String>,
    since_s: u64,
    moved_bytes: u64,
    stored_bytes: u64,
    #[serde(flatten)]
    wakes: wake::Told<'r>,
}

fn tree<'r>(record: &Record, state: Standing, wakes: wake::Told<'r>) -> Tree<'r> {
    let first = record.processes.first();
    Tree {
        pid: first.map_or(0, |member| member.name.pid),
        comm: first.map_or_else(String::new, |member| member.comm.clone()),
        processes: record
            .processes
            .iter()
            .map(|member| member.name.pid)
            .collect(),
        state,
        via: record.means.name(),
        store: record.means.store().map(|dir| dir.display().to_string()),
        since_s: record.since_s,
        moved_bytes: record.moved_bytes,
        stored_bytes: record.stored_bytes,
        wakes,
    }
}

fn line(tree: &Tree<'_>) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ago = now.map_or(0, |now| now.as_secs().saturating_sub(tree.since_s));
    let state = match tree.state {
        Standing::Parked => "parked",
        Standing::Parking => "being parked",
        Standing::Resuming => "resuming",
        Standing::Lazy => {
            "running, memory comes back as it is touched: plimsoll resume brings it all"
        }
        Standing::Waiting => "waiting for a pager: plimsoll resume",
    };
    let wakes = match tree.state {
        Standing::Parked => format!("{:>8} {}\n", "", tree.wakes.words()),
        _ => String::new(),
    };
    let processes = match tree.processes.len() {
        1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    format!(
        "{:>8} {:<15} {processes:<13}  {:>10} out, {:>10} stored by {:<5} {ago} s ago  {state}\n{wakes}",
        tree.pid,
        tree.comm,
        Bytes(tree.moved_bytes),
        Bytes(tree.stored_bytes),
        tree.via,
    )
}
