//! What is known to be parked: finding the record of a tree, telling how it stands, clearing away what is left of
//! trees that have ended.

use crate::fault_point::fault_point;
use crate::out::boot_id;
use crate::runtime::{Entry, Means, Record, Runtime, State};
use crate::store::Place;
use crate::{ParkError, swap};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze;
use plimsoll_surgery::tree::ProcessName;
use serde::Serialize;
use std::path::Path;

/// The record of the tree that a process belongs to. Records whose processes are all gone are cleared away, with
/// their stores.
///
/// # Errors
/// When records can't be read.
pub fn find(runtime: &Runtime, root: &Root, pid: u32) -> Result<Option<Record>, ParkError> {
    for record in living(runtime, root)? {
        if record.names().any(|name| name.pid == pid) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The records of all trees that still live, the others cleared away.
///
/// # Errors
/// When records can't be read.
pub fn living(runtime: &Runtime, root: &Root) -> Result<Vec<Record>, ParkError> {
    freeze::sweep(root)?;
    let mut living = Vec::new();
    for record in runtime.records()? {
        let record = record?;
        let mut lives = false;
        for name in record.names() {
            lives |= name.lives(root)?;
        }
        if lives {
            living.push(record);
        } else {
            clear_away(runtime, root, &record)?;
        }
    }
    // One that doesn't fit in memory now stays for the next command.
    let _ = swap::own::tidy(root, runtime);
    let lives = |process: ProcessName| process.lives(root).unwrap_or(true);
    runtime.sweep_first_touches(lives);
    runtime.sweep_unrecorded(lives);
    Ok(living)
}

/// Removes the stores whose processes are gone and that no record names: what is left when the host went down with
/// parked trees. One that can't be read is left alone.
///
/// # Errors
/// When records or directories can't be listed.
pub fn sweep(root: &Root, runtime: &Runtime, place: &Place) -> Result<(), ParkError> {
    let boot_id = boot_id(root)?;
    for store in place.stores()? {
        let Ok(identity) = store.identity else {
            continue;
        };
        let mut lives = false;
        for process in &identity.processes {
            let name = ProcessName {
                pid: process.pid,
                start_ticks: process.starttime,
            };
            lives |= identity.boot_id == boot_id && name.lives(root)?;
        }
        // A child may still have to come back, or another plimsoll be about to clear it away.
        let named = |record: &Record| record.means.store() == Some(&store.dir);
        let records = runtime.records()?;
        let unknown = records.iter().any(Result::is_err);
        if !lives && !unknown && !records.iter().flatten().any(named) {
            remove_store(&store.dir)?;
        }
    }
    Ok(())
}

/// How a tree stands, as far as can be told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Another plimsoll is parking it.
    Parking,
    /// It is out.
    Parked,
    /// Another plimsoll is bringing it back.
    Resuming,
    /// Another plimsoll brings back what it touches.
    Lazy,
    /// A plimsoll that was at it is gone: it wants to be resumed.
    Waiting,
}

/// How the tree of a record stands.
///
/// # Errors
/// When its lock can't be looked at.
pub fn standing(runtime: &Runtime, record: &Record) -> Result<Standing, ParkError> {
    let Some(first) = record.processes.first() else {
        return Ok(Standing::Parked);
    };
    let at_work = runtime.lock(first.name)?.is_none();
    Ok(match (record.state, at_work) {
        (State::Parked, _) => Standing::Parked,
        (State::Parking, true) => Standing::Parking,
        (State::Resuming, true) if record.lazy => Standing::Lazy,
        (State::Resuming, true) => Standing::Resuming,
        (_, false) => Standing::Waiting,
    })
}

/// Everything that was left of a tree that has ended.
fn clear_away(runtime: &Runtime, root: &Root, record: &Record) -> Result<(), ParkError> {
    let Some(first) = record.processes.first() else {
        return Ok(());
    };
    if let Some(entry) = runtime.lock(first.name)? {
        if let Some(plan) = &record.frozen {
            plan.thaw(root)?;
        }
        end_guardians(root, &entry)?;
        forget(entry, record)?;
    }
    Ok(())
}

/// Nothing is left that a guardian could hold.
pub(crate) fn end_guardians(root: &Root, entry: &Entry) -> Result<(), ParkError> {
    for session in entry.sessions()? {
        session.end(root)?;
    }
    Ok(())
}

/// The store first: a record without one can be cleared away, a store without a record would stay.
pub(crate) fn forget(entry: Entry, record: &Record) -> Result<(), ParkError> {
    if let Means::Store { dir } = &record.means {
        remove_store(dir)?;
    }
    fault_point("store-removed");
    entry.remove()?;
    fault_point("forgotten");
    Ok(())
}

pub(crate) fn remove_store(dir: &Path) -> Result<(), ParkError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(crate::store::StoreError::io("remove", dir)(error).into())
        }
        _ => Ok(()),
    }
}
