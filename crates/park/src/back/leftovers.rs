//! Descriptors of ours in processes of a tree: whether memory hangs on them, and closing those on which none does.

use super::STOP_TIMEOUT;
use crate::plan::Plan;
use crate::runtime::{Entry, Record};
use crate::session::Guarded;
use crate::{ParkError, arm};
use plimsoll_proc::Root;
use plimsoll_surgery::stop::{StopError, StoppedTree};
use plimsoll_surgery::tree::{Extent, ProcessName, members};
use plimsoll_sys::Span;

/// Whether any process of the tree has memory that is armed: only then pages of it may be in the store alone.
pub(super) fn is_armed(root: &Root, record: &Record) -> Result<bool, ParkError> {
    for name in record.names() {
        if !armed(root, name)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The mappings of a process that are armed; none of one that has ended.
fn armed(root: &Root, process: ProcessName) -> Result<Vec<Span>, ParkError> {
    if !process.lives(root)? {
        return Ok(Vec::new());
    }
    Ok(Plan::armed_now(root, process.pid)?)
}

/// Whether a guardian may hold descriptors of children.
pub(super) fn is_guarded(entry: &Entry) -> Result<bool, ParkError> {
    Ok(entry.sessions()?.iter().any(Guarded::is_orphaned))
}

/// Closes descriptors that were made in a process and never put to use, or disarmed and not yet closed; and the copies
/// that children inherited while the tree was being resumed, under the same numbers.
pub(super) fn close_leftovers(root: &Root, record: &Record) -> Result<(), ParkError> {
    let mut parked = Vec::new();
    for name in record.names() {
        parked.extend(name.lives(root)?.then_some(name.pid));
    }
    let numbers: Vec<i32> = record
        .processes
        .iter()
        .filter_map(|member| member.uffd)
        .collect();
    let mut pids = parked.clone();
    for pid in &parked {
        pids.extend(
            members(root, *pid, Extent::Whole)?
                .iter()
                .map(|name| name.pid),
        );
    }
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        let held = arm::held(root, pid)?;
        let ours = parked.contains(&pid) || held.iter().any(|held| numbers.contains(held));
        if held.is_empty() || !ours {
            continue;
        }
        // The last close would make zeros of what is not back.
        if !Plan::armed_now(root, pid)?.is_empty() {
            return Err(ParkError::StillArmed { pid });
        }
        match StoppedTree::stop(root, pid, Extent::Only, STOP_TIMEOUT) {
            Err(StopError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(mut tree) => {
                for process in &mut tree.processes {
                    arm::close_all(root, process)?;
                }
            }
        }
    }
    Ok(())
}
