//! Where a group of our own can be made, with a memory controller: below the caller's group where that is possible.
//!
//! v1 lets groups and processes be side by side, so the caller's own group does. v2 does not: a group with processes hands no
//! controller down, but for the root. There the nearest group above is taken that can. Two things end the search: a group
//! with a limit of its own is not passed over, since what is made above it escapes that limit; and above what was delegated to
//! us (`cgroup-v2.rst`, "Delegation") nothing can be made, which the kernel says when it is tried.

use super::{ControlError, Group, v2};
use crate::format::Words;
use crate::mount::{Hierarchy, Version};
use plimsoll_proc::{ReadError, Root};
use plimsoll_units::Limit;
use std::path::{Path, PathBuf};

/// What is known of a group that own groups might be made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its directory.
    pub path: PathBuf,
    /// It is the root of all: controllers are handed down from there whatever is in it.
    pub is_root: bool,
    /// Processes are in it, not in groups below.
    pub has_processes: bool,
    /// It has the controller, to use or to hand down.
    pub offers: bool,
    /// It hands the controller down already.
    pub hands_down: bool,
    /// It has a limit on memory or swap.
    pub is_limited: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoSite {
    /// The process is in no group of the hierarchy that can be seen from here.
    #[error("the control group of process {pid} can't be seen from here")]
    Unseen {
        /// Which process.
        pid: u32,
    },
    /// What is made above this group would escape its limit.
    #[error("{} has processes in it and a limit: groups can't be made in it, and made above it they would escape the limit", path.display())]
    Limited {
        /// The group.
        path: PathBuf,
    },
    /// The topmost group that is shown has processes in it: a container whose processes were not moved down.
    #[error("{} has processes in it, so that it can't hand the memory controller down", path.display())]
    Occupied {
        /// The group.
        path: PathBuf,
    },
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A group can't be looked at, or hands nothing down.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Which of these groups it is to be: the first is the caller's own, each next one the group above.
///
/// # Errors
/// The first group that can't be passed over, by its place.
pub fn choose(steps: &[Step]) -> Result<usize, (usize, bool)> {
    for (at, step) in steps.iter().enumerate() {
        let free = step.is_root || !step.has_processes;
        if step.hands_down || (step.offers && free) {
            return Ok(at);
        }
        if step.is_limited {
            return Err((at, true));
        }
    }
    Err((steps.len().saturating_sub(1), false))
}

/// Finds the group for own groups of a process, and has it hand the memory controller down, and the pids
/// controller where there is one.
///
/// # Errors
/// Why there is none.
pub fn find(root: &Root, hierarchy: &Hierarchy, pid: u32) -> Result<Group, NoSite> {
    let memberships = root.read(format!("proc/{pid}/cgroup"))?;
    let own = hierarchy
        .group_of(&memberships, "memory")
        .ok_or(NoSite::Unseen { pid })?;
    if hierarchy.version == Version::V1 {
        return Ok(Group::open(Version::V1, own)?);
    }
    let steps = own
        .ancestors()
        .take_while(|path| path.starts_with(&hierarchy.mount_point))
        .map(step)
        .collect::<Result<Vec<_>, _>>()?;
    let path = |at: usize| steps.get(at).map_or(own.clone(), |step| step.path.clone());
    let chosen = choose(&steps).map_err(|(at, is_limited)| match is_limited {
        true => NoSite::Limited { path: path(at) },
        false => NoSite::Occupied { path: path(at) },
    })?;
    let group = Group::open(Version::V2, path(chosen))?;
    let settings = v2::Settings(&group);
    settings.hand_down("memory")?;
    let _ = settings.hand_down("pids"); // a hold can do without
    Ok(group)
}

fn step(path: &Path) -> Result<Step, ControlError> {
    let group = Group::open(Version::V2, path)?;
    let has = |file| -> Result<bool, ControlError> {
        let controllers: Option<Words> = group.read(file)?;
        Ok(controllers.is_some_and(|controllers| controllers.has("memory")))
    };
    let mut is_limited = false;
    for file in ["memory.max", "memory.high", "memory.swap.max"] {
        is_limited |= group
            .read::<Limit>(file)?
            .is_some_and(|limit| limit != Limit::Max);
    }
    let processes = group.processes();
    Ok(Step {
        is_root: !group.has("cgroup.type"),
        // A threaded group does not tell, and can't be used.
        has_processes: processes.map_or(true, |pids| !pids.seen.is_empty() || pids.outside > 0),
        offers: has("cgroup.controllers")?,
        hands_down: has("cgroup.subtree_control")?,
        is_limited,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group in a letter each: `r` root, `p` processes, `o` offers, `h` hands down, `l` limited.
    fn steps(words: &[&str]) -> Vec<Step> {
        let step = |word: &&str| Step {
            path: PathBuf::new(),
            is_root: word.contains('r'),
            has_processes: word.contains('p'),
            offers: word.contains('o'),
            hands_down: word.contains('h'),
            is_limited: word.contains('l'),
        };
        words.iter().map(step).collect()
    }

    #[test]
    fn the_nearest_group_that_can_and_never_above_a_limit() {
        for (groups, chosen) in [
            (&["rpo"][..], Ok(0)),         // a guest's shell in the root
            (&["po", "oh", "roh"], Ok(1)), // a session's scope
            (&["po", "po", "rpo"], Ok(2)), // nothing handed down but by the root
            (&["o", "oh", "roh"], Ok(0)),  // empty but for groups
            (&["p", "p", "roh"], Ok(2)),   // no controller down here
            (&["pol", "oh", "roh"], Err((0, true))),
            (&["po", "pol", "roh"], Err((1, true))),
            (&["po"], Err((0, false))), // a container that shows its own group as the top
            (&["p", "rp"], Err((1, false))), // no memory controller at all
        ] {
            assert_eq!(choose(&steps(groups)), chosen, "{groups:?}");
        }
    }
}
