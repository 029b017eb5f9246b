//! `plimsoll check`: can it be parked, what would leave, what would stay, and what stands in the way.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::park::{Left, extent, json_line, place, reason, wanted};
use crate::terminal;
use plimsoll_park::check::{Examined, Fate, Hindrance, Means, Report};
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_units::Bytes;
use serde::Serialize;

/// Checks all, and then ends with the gravest answer.
pub(crate) fn run(args: &args::Check) -> Result<(), Failure> {
    if args.checkpoint {
        return crate::checkpoint::check(&args.pids, args.json);
    }
    let root = Root::live();
    let place = place(&args.store);
    let mut gravest = None;
    for pid in &args.pids {
        let examined = Examined::look(&root, *pid, extent(args.only))?;
        let report = Report::of(&examined, wanted(args.via), &place);
        let answer = Answer::of(&report);
        terminal::print(&if args.json {
            json_line(&told(*pid, answer, &report))?
        } else {
            text(*pid, answer, &report)
        })?;
        gravest = gravest.max(Some(answer));
    }
    match gravest.and_then(Answer::failure) {
        Some(kind) => Err(Failure::message(kind, "not everything can be parked")),
        None => Ok(()),
    }
}

/// Whether it can be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Yes,
    /// More privilege is all that it takes.
    NotPermitted,
    Refused,
}

impl Answer {
    fn of(report: &Report) -> Self {
        let hindrances = &report.hindrances;
        match hindrances.iter().all(|hindrance| hindrance.is_privilege) {
            true if hindrances.is_empty() => Self::Yes,
            true => Self::NotPermitted,
            false => Self::Refused,
        }
    }

    fn failure(self) -> Option<Kind> {
        match self {
            Self::Yes => None,
            Self::NotPermitted => Some(Kind::NotPermitted),
            Self::Refused => Some(Kind::Refused),
        }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    pid: u32,
    answer: Answer,
    via: &'static str,
    would_move_bytes: u64,
    /// What a resume would take on top.
    copies_bytes: u64,
    /// The size of a swap file that would be made for the time.
    swap_file_bytes: Option<u64>,
    left: Vec<Left>,
    obstacles: Vec<Obstacle<'a>>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Obstacle<'a> {
    pid: Option<u32>,
    what: &'a str,
    remedy: &'a str,
    /// More privilege would do.
    privilege: bool,
}

#[derive(Serialize)]
struct Process<'a> {
    name: ProcessName,
    comm: &'a str,
    would_move_bytes: u64,
    left: Vec<Left>,
}

fn told(pid: u32, answer: Answer, report: &Report) -> Told<'_> {
    Told {
        schema: "plimsoll.check/1",
        pid,
        answer,
        via: via(report.means),
        would_move_bytes: report.moves().get(),
        copies_bytes: report.copies.get(),
        swap_file_bytes: report.own_swap.as_ref().map(|own| own.size.get()),
        left: Left::all(&report.left()),
        obstacles: report.hindrances.iter().map(Obstacle::of).collect(),
        processes: report.fates.iter().map(Process::of).collect(),
    }
}

impl<'a> Obstacle<'a> {
    fn of(hindrance: &'a Hindrance) -> Self {
        Self {
            pid: hindrance.process.map(|name| name.pid),
            what: &hindrance.what,
            remedy: &hindrance.remedy,
            privilege: hindrance.is_privilege,
        }
    }
}

impl<'a> Process<'a> {
    fn of(fate: &'a Fate) -> Self {
        Self {
            name: fate.name,
            comm: &fate.comm,
            would_move_bytes: fate.moves.get(),
            left: Left::all(&fate.left),
        }
    }
}

fn via(means: Means) -> &'static str {
    match means {
        Means::Swap => "swap",
        Means::Store => "store",
    }
}

fn text(pid: u32, answer: Answer, report: &Report) -> String {
    let processes = report.fates.len();
    let via = via(report.means);
    let mut text = match answer {
        Answer::Yes => format!("{pid} can be parked by {via}"),
        Answer::NotPermitted => format!("{pid} can be parked by {via}, but not by you"),
        Answer::Refused => format!("{pid} can't be parked by {via}"),
    };
    text += &match processes {
        1 => "\n".to_owned(),
        _ => format!(" ({processes} processes)\n"),
    };
    for (hindrance, pids) in together(&report.hindrances) {
        text += &format!("  {}{}\n", named(&pids), hindrance.what);
        text += &format!("      remedy: {}\n", hindrance.remedy);
    }
    text += &format!("  {:>10} would leave memory\n", report.moves());
    if let Some(own) = &report.own_swap {
        let (size, dir) = (own.size, own.dir.display());
        text += &format!("  {size:>10} of swap would be made for the time, as a file in {dir}\n");
    }
    if report.copies > Bytes::ZERO {
        let copies = report.copies;
        text += &format!("  {copies:>10} more when it comes back: shared pages become copies\n");
    }
    for (why, bytes) in report.left() {
        text += &format!("  {bytes:>10} stay: {}\n", reason(why));
    }
    text
}

/// Hindrances that are alike, with all their processes.
fn together(hindrances: &[Hindrance]) -> Vec<(&Hindrance, Vec<u32>)> {
    let mut found: Vec<(&Hindrance, Vec<u32>)> = Vec::new();
    for hindrance in hindrances {
        let pid = hindrance.process.map(|name| name.pid);
        match found
            .iter_mut()
            .find(|(same, _)| same.what == hindrance.what)
        {
            Some((_, pids)) => pids.extend(pid),
            None => found.push((hindrance, pid.into_iter().collect())),
        }
    }
    found
}

/// Some of them by number.
fn named(pids: &[u32]) -> String {
    let some: Vec<_> = pids.iter().take(5).map(ToString::to_string).collect();
    match pids.len() {
        0 => String::new(),
        all if all > some.len() => format!("{} and {} more: ", some.join(", "), all - some.len()),
        _ => format!("{}: ", some.join(", ")),
    }
}
