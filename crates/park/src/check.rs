//! Can a tree be parked, how much of it would go, and what stands in the way: known before anything is stopped.

use crate::ParkError;
use crate::plan::{Plan, Stays};
use plimsoll_proc::Root;
use plimsoll_surgery::holds::{Holds, Obstacle};
use plimsoll_surgery::tree::{Extent, ProcessName, members};
use plimsoll_units::{Bytes, PageSize};
use std::collections::BTreeMap;

/// One process of a tree, looked at while it runs.
#[derive(Debug)]
pub struct Checked {
    /// Which.
    pub name: ProcessName,
    /// What a store would take: pages of plain memory that it does not share.
    pub movable: Bytes,
    /// Resident memory that a store would leave, by reason.
    pub left: BTreeMap<Stays, Bytes>,
    /// What stands in the way of swap.
    pub against_swap: Vec<Obstacle>,
    /// What stands in the way of a store.
    pub against_store: Vec<Obstacle>,
}

/// Looks at every process of a tree. Nothing is stopped.
///
/// # Errors
/// When there is no such process, or `/proc` can't be read.
pub fn check(root: &Root, pid: u32, extent: Extent) -> Result<Vec<Checked>, ParkError> {
    let page_size = plimsoll_proc::page_size::read(root)?;
    let names = members(root, pid, extent)?;
    if names.is_empty() {
        return Err(ParkError::NoProcess(pid));
    }
    let looked: Result<Vec<Checked>, ParkError> = names
        .into_iter()
        .map(|name| look(root, name, page_size))
        .collect();
    looked
}

fn look(root: &Root, name: ProcessName, page_size: PageSize) -> Result<Checked, ParkError> {
    let holds = Holds::look(root, name, page_size)?;
    let mut plan = if holds.obstacles.contains(&Obstacle::Denied) {
        Plan::default()
    } else {
        Plan::read(root, name.pid)?
    };
    let mut movable = Bytes::ZERO;
    for mapping in &holds.mappings {
        if plan
            .movable
            .iter()
            .any(|span| span.intersection(mapping.span).is_some())
        {
            movable += mapping.pages.exclusive + mapping.pages.swapped;
            *plan.left.entry(Stays::SharedByFork).or_default() += mapping.pages.shared_by_fork;
        }
    }
    plan.left.retain(|_, bytes| *bytes > Bytes::ZERO);
    let against_store = holds.obstacles;
    let against_swap = against_store
        .iter()
        .copied()
        .filter(stops_even_swap)
        .collect();
    Ok(Checked {
        name,
        movable,
        left: plan.left,
        against_swap,
        against_store,
    })
}

/// Paging out asks only that the process can be stopped: the kernel itself knows what is pinned or a device's.
fn stops_even_swap(obstacle: &Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::Traced { .. } | Obstacle::Denied | Obstacle::NoMemory | Obstacle::DumpingCore
    )
}

/// Everything that stands in the way of one means, as one error; nothing when the way is free.
pub(crate) fn refuse(checked: &[Checked], by_store: bool) -> Result<(), ParkError> {
    let mut obstacles = Vec::new();
    for process in checked {
        let against = if by_store {
            &process.against_store
        } else {
            &process.against_swap
        };
        obstacles.extend(against.iter().map(|obstacle| (process.name.pid, *obstacle)));
    }
    if obstacles.is_empty() {
        Ok(())
    } else {
        Err(ParkError::Obstacles(obstacles))
    }
}
