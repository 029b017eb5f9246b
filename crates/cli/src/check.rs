//! `plimsoll check`: can it be parked.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::park::{Left, json_line, reason};
use crate::terminal;
use plimsoll_park::check::{self, Checked};
use plimsoll_park::plan::Stays;
use plimsoll_park::swap;
use plimsoll_proc::Root;
use plimsoll_surgery::tree::Extent;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// Checks as asked.
pub(crate) fn run(args: &args::Check) -> Result<(), Failure> {
    let root = Root::live();
    let extent = if args.only {
        Extent::Only
    } else {
        Extent::Whole
    };
    let swap_free = Bytes(swap::free_bytes(&root)?);
    let mut refused = false;
    for pid in &args.pids {
        let told = Told::new(*pid, &check::check(&root, *pid, extent)?, swap_free);
        refused |= !told.can_park;
        terminal::print(&if args.json {
            json_line(&told)?
        } else {
            told.text()
        })?;
    }
    if refused {
        return Err(Failure::message(
            Kind::Refused,
            "not all of them can be parked",
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    pid: u32,
    can_park: bool,
    processes: usize,
    /// What a store would take.
    movable_bytes: u64,
    left: Vec<Left>,
    swap_free_bytes: u64,
    obstacles: Vec<InTheWay>,
}

#[derive(Serialize)]
struct InTheWay {
    pid: u32,
    what: String,
    remedy: &'static str,
    /// Parking by swap is possible nevertheless.
    swap_may: bool,
}

impl Told {
    fn new(pid: u32, processes: &[Checked], swap_free: Bytes) -> Self {
        let mut left: BTreeMap<Stays, Bytes> = BTreeMap::new();
        let mut obstacles = Vec::new();
        for process in processes {
            for (why, bytes) in &process.left {
                *left.entry(*why).or_default() += *bytes;
            }
            obstacles.extend(process.against_store.iter().map(|obstacle| InTheWay {
                pid: process.name.pid,
                what: obstacle.to_string(),
                remedy: obstacle.remedy(),
                swap_may: !process.against_swap.contains(obstacle),
            }));
        }
        let movable: Bytes = processes.iter().map(|process| process.movable).sum();
        let by_swap = swap_free >= movable && obstacles.iter().all(|obstacle| obstacle.swap_may);
        Self {
            schema: "plimsoll.check/1",
            pid,
            can_park: obstacles.is_empty() || by_swap,
            processes: processes.len(),
            movable_bytes: movable.get(),
            left: left
                .into_iter()
                .map(|(why, bytes)| Left {
                    why,
                    bytes: bytes.get(),
                })
                .collect(),
            swap_free_bytes: swap_free.get(),
            obstacles,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}: {}, {} processes, {} would go; {} of swap are free\n",
            self.pid,
            if self.can_park {
                "can be parked"
            } else {
                "can't be parked"
            },
            self.processes,
            Bytes(self.movable_bytes),
            Bytes(self.swap_free_bytes),
        );
        for left in &self.left {
            text += &format!("  {:>10} stay: {}\n", Bytes(left.bytes), reason(left.why));
        }
        for obstacle in &self.obstacles {
            text += &format!(
                "  {}: {}: {}\n",
                obstacle.pid, obstacle.what, obstacle.remedy
            );
        }
        text
    }
}
