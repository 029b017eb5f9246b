//! `plimsoll parked`: what is parked on this host, by this user.

use crate::args;
use crate::failure::Failure;
use crate::park::json_line;
use crate::terminal;
use plimsoll_park::ParkError;
use plimsoll_park::back::{self, Standing};
use plimsoll_park::runtime::{Record, Runtime};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::time::SystemTime;

/// Shows what is parked.
pub(crate) fn run(args: &args::Parked) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    let mut trees = Vec::new();
    for record in back::living(&runtime, &root)? {
        let standing = back::standing(&runtime, &record)?;
        trees.push(tree(&record, standing));
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
struct Told {
    schema: &'static str,
    trees: Vec<Tree>,
}

#[derive(Serialize)]
struct Tree {
    pid: u32,
    comm: String,
    processes: Vec<u32>,
    state: Standing,
    via: &'static str,
    store: Option<String>,
    since_s: u64,
    moved_bytes: u64,
    stored_bytes: u64,
}

fn tree(record: &Record, state: Standing) -> Tree {
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
    }
}

fn line(tree: &Tree) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ago = now.map_or(0, |now| now.as_secs().saturating_sub(tree.since_s));
    let state = match tree.state {
        Standing::Parked => "parked",
        Standing::Parking => "being parked",
        Standing::Resuming => "resuming",
        Standing::Waiting => "waiting for a pager: plimsoll resume",
    };
    format!(
        "{:>8} {:<15} {:>3} processes  {:>10} out, {:>10} stored by {:<5} {ago} s ago  {state}\n",
        tree.pid,
        tree.comm,
        tree.processes.len(),
        Bytes(tree.moved_bytes),
        Bytes(tree.stored_bytes),
        tree.via,
    )
}
