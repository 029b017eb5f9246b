//! What stands still without us: a tree that stays frozen after its surgeon has left.
//!
//! Three ways, tried in this order; which one it was is told ([`Plan::by`]):
//!
//! | way | its parent sees | needs |
//! | --- | --- | --- |
//! | cgroup v2, `cgroup.freeze` | nothing | a group that the tree owns alone, or may make below its own |
//! | cgroup v1, freezer | nothing | the same in the freezer hierarchy |
//! | SIGSTOP | stopped children, as from job control | nothing |
//!
//! The plan is handed out, to be written down, before anything is done: whoever finds it later can undo it, all or
//! part of it, as often as wanted. It is carried out while `ptrace(2)` holds the tree, so that between the two no
//! thread gets to run: let go, each goes straight into the freezer.

mod group;
mod signal;

pub use group::Group;

use crate::stop::StoppedTree;
use crate::tree::ProcessName;
use plimsoll_cgroup::mount::{self, Hierarchy};
use plimsoll_cgroup::write::ControlError;
use plimsoll_proc::{ReadError, Root, mountinfo};
use plimsoll_sys::ptrace::Event;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrozenBy {
    /// `cgroup.freeze`.
    CgroupV2,
    /// The v1 freezer.
    CgroupV1,
    /// SIGSTOP.
    Sigstop,
}

impl FrozenBy {
    /// All ways, best first.
    pub const ALL: [Self; 3] = [Self::CgroupV2, Self::CgroupV1, Self::Sigstop];
}

/// Why a way could not be gone.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// A control group.
    #[error(transparent)]
    Group(#[from] ControlError),
    /// A process could not be signalled.
    #[error("cannot signal process {pid}")]
    Signal {
        /// Which.
        pid: u32,
        /// Why.
        #[source]
        errno: rustix::io::Errno,
    },
    /// It takes too long.
    #[error("{what} did not stand still within {} ms", waited.as_millis())]
    Slow {
        /// Which group or process.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// None of the ways could be gone.
    #[error("the tree can't be frozen: {}", list(refusals))]
    NoWay {
        /// What stood in each way that was tried.
        refusals: Vec<FreezeError>,
    },
    /// The plan could not be written down, so nothing was done.
    #[error("cannot record how the tree is to be frozen")]
    Record(#[source] std::io::Error),
}

fn list(refusals: &[FreezeError]) -> String {
    let texts: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// How a tree is to be frozen: enough to do it, and to undo it later from another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which way.
    pub by: FrozenBy,
    /// The groups to be frozen; none with SIGSTOP.
    pub groups: Vec<Group>,
    /// The processes.
    pub members: Vec<Member>,
}

/// A process of a frozen tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub name: ProcessName,
    /// Job control had stopped it before we came; so it shall be afterwards.
    pub stopped_before: bool,
}

/// Freezes a tree that `ptrace(2)` holds, by the first of `ways` that can be gone ([`FrozenBy::ALL`] for the best).
/// Each plan is given to `record` before it is tried; one that fails is undone. Once the tree is released,
/// [`Plan::confirm`] says when it stands.
///
/// # Errors
/// [`FreezeError::NoWay`] with what stood in each way; or that a plan could not be recorded.
pub fn hold(
    root: &Root,
    tree: &StoppedTree,
    ways: &[FrozenBy],
    mut record: impl FnMut(&Plan) -> std::io::Result<()>,
) -> Result<Plan, FreezeError> {
    let members: Vec<Member> = tree.processes.iter().map(member).collect();
    let mut refusals = Vec::new();
    for &by in ways {
        let Some(groups) = groups(root, by, &members)? else {
            continue;
        };
        let plan = Plan {
            by,
            groups,
            members: members.clone(),
        };
        record(&plan).map_err(FreezeError::Record)?;
        match plan.carry_out() {
            Ok(()) => return Ok(plan),
            Err(error) => {
                plan.thaw(root)?;
                refusals.push(error);
            }
        }
    }
    Err(FreezeError::NoWay { refusals })
}

/// What would have to be frozen, one way; `None` where that way is closed from the start.
fn groups(
    root: &Root,
    by: FrozenBy,
    members: &[Member],
) -> Result<Option<Vec<Group>>, FreezeError> {
    if by == FrozenBy::Sigstop {
        return Ok(Some(Vec::new()));
    }
    match hierarchy(root, by)? {
        Some(hierarchy) => group::to_freeze(root, by, &hierarchy, members),
        None => Ok(None),
    }
}

fn hierarchy(root: &Root, by: FrozenBy) -> Result<Option<Hierarchy>, ReadError> {
    let mounts = mountinfo::parse(&root.read("proc/self/mountinfo")?);
    Ok(match by {
        FrozenBy::CgroupV2 => mount::v2(&mounts),
        FrozenBy::CgroupV1 => mount::v1(&mounts, "freezer"),
        FrozenBy::Sigstop => None,
    })
}

/// Whether a freezer holds a process: its own group's, or one above.
///
/// # Errors
/// When `/proc` can't be read.
pub(crate) fn is_frozen(root: &Root, pid: u32) -> Result<bool, ReadError> {
    let memberships = root.read(format!("proc/{pid}/cgroup"))?;
    for by in FrozenBy::ALL {
        if let Some(hierarchy) = hierarchy(root, by)?
            && group::is_frozen(by, &hierarchy, &memberships)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes empty groups of our own making whose tree is gone: what is left when a plimsoll and then its tree are killed.
///
/// # Errors
/// When `/proc` can't be read.
pub fn sweep(root: &Root) -> Result<(), ReadError> {
    for by in FrozenBy::ALL {
        if let Some(hierarchy) = hierarchy(root, by)? {
            group::sweep(root, &hierarchy.mount_point);
        }
    }
    Ok(())
}

fn member(process: &crate::stop::StoppedProcess) -> Member {
    let by_job_control =
        |thread: &plimsoll_sys::ptrace::Stopped| matches!(thread.event(), Event::GroupStop(_));
    Member {
        name: process.name,
        stopped_before: process.threads.iter().any(by_job_control),
    }
}

impl Plan {
    fn carry_out(&self) -> Result<(), FreezeError> {
        match self.by {
            FrozenBy::Sigstop => signal::stop(&self.members),
            by => self.groups.iter().try_for_each(|group| group.freeze(by)),
        }
    }

    /// Waits until all of it stands still, after `ptrace(2)` has let go.
    ///
    /// # Errors
    /// [`FreezeError::Slow`].
    pub fn confirm(&self, root: &Root, timeout: Duration) -> Result<(), FreezeError> {
        match self.by {
            FrozenBy::Sigstop => signal::confirm(root, &self.members, timeout),
            by => self
                .groups
                .iter()
                .try_for_each(|group| group.confirm(by, timeout)),
        }
    }

    /// Undoes it: everything runs again that ran before, each in the group it came from. What is gone, or was
    /// undone already, is passed over.
    ///
    /// # Errors
    /// The first thing that failed, after all was tried.
    pub fn thaw(&self, root: &Root) -> Result<(), FreezeError> {
        match self.by {
            FrozenBy::Sigstop => signal::go_on(root, &self.members),
            by => {
                let tried: Vec<_> = self.groups.iter().map(|group| group.thaw(by)).collect();
                tried.into_iter().collect()
            }
        }
    }
}
