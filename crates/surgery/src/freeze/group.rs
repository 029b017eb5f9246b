//! Groups frozen: one that the tree owns alone, as it is; else one of our own, below the group the tree is in.
//!
//! Moving processes one group down and back changes no limit they live under and no account they are charged
//! to. It is done only where the kernel allows it without asking more of the group.

use super::{FreezeError, FrozenBy, Member};
use crate::tree::ProcessName;
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_cgroup::v1::FreezerState;
use plimsoll_cgroup::write::{self as control, ControlError, frozen};
use plimsoll_proc::Root;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A group to be frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where it is.
    pub path: PathBuf,
    /// It is of our own making: these processes are moved into it, and back to the group above it.
    pub moved: Option<Vec<u32>>,
}

/// Which groups of a hierarchy have to be frozen so that exactly `members` are. `None` where some of them can't be
/// found in it, or are frozen by somebody else already.
pub(super) fn to_freeze(
    root: &Root,
    by: FrozenBy,
    hierarchy: &Hierarchy,
    members: &[Member],
) -> Result<Option<Vec<Group>>, FreezeError> {
    let all: BTreeSet<u32> = members.iter().map(|member| member.name.pid).collect();
    let mut homes: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
    for &pid in &all {
        let text = match root.read(format!("proc/{pid}/cgroup")) {
            Err(error) if error.is_gone() => continue,
            text => text?,
        };
        match hierarchy.group_of(&text, "freezer") {
            Some(path) => homes.entry(path).or_default().push(pid),
            None => return Ok(None),
        }
    }
    let top = members.first().map_or(0, |member| member.name.pid);
    let mut groups = Vec::new();
    for (path, pids) in homes {
        if state(by, &path).is_some_and(|state| state != FreezerState::Thawed) {
            return Ok(None);
        }
        let is_top = path == hierarchy.mount_point;
        let alone = !is_top
            && open(by, &path)
                .and_then(|group| group.holds_only(&all))
                .unwrap_or(false);
        groups.push(if alone {
            Group { path, moved: None }
        } else {
            Group {
                path: path.join(format!("{OWN}{top}")),
                moved: Some(pids),
            }
        });
    }
    Ok(Some(groups))
}

/// Whether the group of a process stands, or is about to.
pub(super) fn is_frozen(by: FrozenBy, hierarchy: &Hierarchy, memberships: &[u8]) -> bool {
    (hierarchy.group_of(memberships, "freezer"))
        .and_then(|path| state(by, &path))
        .is_some_and(|state| state != FreezerState::Thawed)
}

/// What groups of our own making are called, before the pid of the tree's top.
const OWN: &str = "plimsoll-";

/// Removes what is left below `dir`. The kernel removes no group that somebody is in.
pub(super) fn sweep(root: &Root, dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return; // it went meanwhile
    };
    let groups = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for group in groups {
        let name = group.file_name();
        let top = name
            .to_str()
            .and_then(|name| name.strip_prefix(OWN)?.parse().ok());
        match top.map(|top| ProcessName::of(root, top)) {
            Some(Ok(None)) => drop(fs::remove_dir(group.path())),
            _ => sweep(root, &group.path()),
        }
    }
}

/// How a group stands; `None` where it has no freezer, or can't be looked at.
fn state(by: FrozenBy, path: &Path) -> Option<FreezerState> {
    frozen::state(&open(by, path).ok()?).ok()?
}

fn open(by: FrozenBy, path: &Path) -> Result<control::Group, ControlError> {
    let version = match by {
        FrozenBy::CgroupV1 => Version::V1,
        _ => Version::V2,
    };
    control::Group::open(version, path)
}

impl Group {
    pub(super) fn freeze(&self, by: FrozenBy) -> Result<(), FreezeError> {
        let Some(pids) = &self.moved else {
            return Ok(frozen::freeze(&open(by, &self.path)?)?);
        };
        let group = match open(by, &self.path) {
            Err(error) if error.is_gone() => self.make(by)?,
            opened => opened?, // left by one who died here
        };
        for pid in pids {
            group.enter(*pid)?;
        }
        Ok(frozen::freeze(&group)?)
    }

    fn make(&self, by: FrozenBy) -> Result<control::Group, ControlError> {
        let above = self.path.parent().unwrap_or(&self.path);
        open(by, above)?.make(self.path.file_name().unwrap_or_default())
    }

    /// v1 gets stuck in `FREEZING` when a thread could not be frozen at once (`cgroup-v1/freezer-subsystem.rst`): it
    /// is told again.
    pub(super) fn confirm(&self, by: FrozenBy, timeout: Duration) -> Result<(), FreezeError> {
        let begun = Instant::now();
        let group = open(by, &self.path)?;
        while frozen::state(&group)? != Some(FreezerState::Frozen) {
            if begun.elapsed() >= timeout {
                return Err(FreezeError::Slow {
                    what: format!("control group {}", self.path.display()),
                    waited: begun.elapsed(),
                });
            }
            if by == FrozenBy::CgroupV1 {
                frozen::freeze(&group)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(super) fn thaw(&self, by: FrozenBy) -> Result<(), FreezeError> {
        let group = match open(by, &self.path) {
            Err(error) if error.is_gone() => return Ok(()),
            group => group?,
        };
        if frozen::state(&group)? != Some(FreezerState::Thawed) {
            frozen::thaw(&group)?;
        }
        if self.moved.is_none() {
            return Ok(());
        }
        let above = open(by, self.path.parent().unwrap_or(&self.path))?;
        // Whoever is in it now, children that were born meanwhile included.
        for _ in 0..TRIES {
            for pid in group.processes()?.seen {
                above.enter(pid)?;
            }
            match group.remove() {
                Err(error) if error.errno() == Some(Errno::BUSY) => {
                    std::thread::sleep(Duration::from_millis(5)); // a zombie that nobody reaped yet
                }
                removed => return Ok(removed?),
            }
        }
        Ok(()) // empty but for zombies: the next to pass by removes it
    }
}

/// How often an own group is tried to be removed.
const TRIES: u32 = 20;
