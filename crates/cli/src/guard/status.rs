//! `plimsoll guard status`: how things stand.

use crate::failure::{Failure, Kind};
use crate::terminal;
use plimsoll_guard::observation::{Cause, Host, Shield, Standing, Workload};
use plimsoll_guard::{Policy, control};
use plimsoll_units::Bytes;
use serde::Deserialize;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

/// What people are shown of the document.
#[derive(Deserialize)]
struct Document {
    dry_run: bool,
    level: String,
    host: Host,
    workloads: Vec<Workload>,
    counts: Counts,
}

#[derive(Deserialize)]
struct Counts {
    acts: u64,
    refusals: u64,
    done: u64,
    not_done: u64,
}

pub(super) fn run(policy: &Policy, json: bool) -> Result<(), Failure> {
    let document =
        control::ask(Path::new(&policy.files.run)).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Failure::message(Kind::Failed, "no guard is at work")
            }
            ErrorKind::PermissionDenied => {
                Failure::message(Kind::NotPermitted, "only who runs the guard may ask it")
                    .hint("run it as root")
            }
            _ => error.into(),
        })?;
    if json {
        return Ok(terminal::print(&format!("{}\n", document.trim_end()))?);
    }
    let document: Document =
        serde_json::from_str(&document).map_err(|error| Failure::new(Kind::Fault, error))?;
    Ok(terminal::print(&words(&document))?)
}

fn words(document: &Document) -> String {
    let host = &document.host;
    let mut text = format!(
        "{}: {} of {} available, {} of {} swap free{}\n",
        document.level,
        host.available_bytes,
        host.total_bytes,
        host.swap_free_bytes,
        host.swap_total_bytes,
        if document.dry_run {
            "; it only says what it would do"
        } else {
            ""
        },
    );
    let counts = &document.counts;
    let _ = match document.dry_run {
        true => write!(text, "{} acts told of, none begun", counts.acts),
        false => write!(
            text,
            "{} acts begun, {} done, {} came to nothing",
            counts.acts, counts.done, counts.not_done
        ),
    };
    let _ = writeln!(text, "; {} times nothing could be done", counts.refusals);
    let mut workloads: Vec<_> = document.workloads.iter().collect();
    workloads.sort_by_key(|workload| std::cmp::Reverse(workload.anon_bytes + workload.swap_bytes));
    for workload in workloads {
        let held = workload.anon_bytes + workload.swap_bytes;
        let (standing, limits) = (standing(workload), limits(workload));
        let _ = writeln!(text, "{held:>10}  {}{limits}{standing}", workload.name);
    }
    text
}

/// Its hold, or how often it met limits that it has from elsewhere.
fn limits(workload: &Workload) -> String {
    match (&workload.hold, workload.limit_hits) {
        (Some(hold), _) => format!("  ({hold})"),
        (None, 0) => String::new(),
        (None, hits) => format!("  (limits met {hits} times)"),
    }
}

fn standing(workload: &Workload) -> String {
    let mut text = match (workload.standing, workload.stopped_for) {
        (Standing::Running, _) => String::new(),
        (Standing::Frozen, None) => "  frozen, not by the guard".to_owned(),
        (Standing::Parked, None) => "  parked, not by the guard".to_owned(),
        (Standing::Frozen, Some(_)) => "  frozen for want of memory".to_owned(),
        (Standing::Parked, Some(Cause::Pressure)) => "  parked for want of memory".to_owned(),
        (Standing::Parked, Some(Cause::Idle)) => "  parked, being idle".to_owned(),
    };
    if let Some(shield) = workload.shield {
        text += match shield {
            Shield::Itself => "  (spared: the guard itself)",
            Shield::Init => "  (spared: init)",
            Shield::System => "  (spared: the host lives by it)",
            Shield::SessionLeader => "  (spared: leads a session)",
            Shield::HoldsLock => "  (spared: others wait for its lock)",
        };
    }
    if workload.swap_bytes > Bytes::ZERO {
        text += &format!("  {} of it in swap", workload.swap_bytes);
    }
    text
}
