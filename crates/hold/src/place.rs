//! The group that is held: the one that a workload has to itself, or one of our own that it is moved into.
//!
//! A page stays charged to the group in which it was first touched, wherever its process goes. So a group that
//! the workload owns alone is held as it is; only a workload that shares its group is moved, and then what it holds already
//! is not counted.

use crate::HoldError;
use crate::host::Host;
use crate::record::{Homes, Record};
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_cgroup::write::{Group, site};
use plimsoll_proc::Root;
use plimsoll_surgery::tree::{self, Extent};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A group of our own, and the one of v2 beside it that counts pressure.
#[derive(Debug)]
pub struct Own {
    /// In the memory hierarchy.
    pub memory: Group,
    /// Beside it.
    pub pressure: Option<Group>,
}

/// What groups of our own are called, before the name of the hold.
const PREFIX: &str = "plimsoll-hold-";

/// What a scope of systemd's is called.
#[must_use]
pub fn scope(name: &str) -> String {
    format!("{PREFIX}{name}.scope")
}

/// Where own groups will be: known before they are made, so that they can be written down first.
#[derive(Debug)]
pub struct Intended {
    site: Group,
    beside: Option<Group>,
    called: OsString,
    /// Where its processes come from.
    pub homes: Homes,
}

impl Intended {
    /// Finds the place for processes that are where `pid` is.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(root: &Root, host: &Host, pid: u32, name: &str) -> Result<Self, HoldError> {
        let called = OsString::from(format!("{PREFIX}{name}"));
        let site = site::find(root, &host.memory, pid)?;
        let memberships = root.read(format!("proc/{pid}/cgroup"))?;
        let home = |hierarchy: &Hierarchy| hierarchy.group_of(&memberships, "memory");
        let homes = Homes {
            group: home(&host.memory).ok_or(site::NoSite::Unseen { pid })?,
            pressure: host.beside.as_ref().and_then(home),
        };
        let beside = homes.pressure.as_ref().and_then(|home| {
            let home = Group::open(Version::V2, home).ok()?;
            home.has("memory.pressure").then_some(home)
        });
        Ok(Self {
            site,
            beside,
            called,
            homes,
        })
    }

    /// The group to be.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.site.path().join(&self.called)
    }

    /// And the one beside it; it may turn out not to be possible.
    #[must_use]
    pub fn pressure(&self) -> Option<PathBuf> {
        let beside = self.beside.as_ref()?;
        Some(beside.path().join(&self.called))
    }

    /// Makes them.
    ///
    /// # Errors
    /// As `mkdir(2)`.
    pub fn make(self) -> Result<Own, HoldError> {
        Ok(Own {
            memory: self.site.make(&self.called)?,
            // A hold can do without; and processes in the root of v2 may have groups beside them.
            pressure: self
                .beside
                .and_then(|beside| beside.make(&self.called).ok()),
        })
    }
}

impl Own {
    /// Moves a tree into them: again and again, until nobody is born outside any more.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn take_in(&self, root: &Root, top: u32) -> Result<(), HoldError> {
        let mut moved = BTreeSet::new();
        loop {
            let members = tree::members(root, top, Extent::Whole)?;
            let fresh: Vec<u32> = members
                .iter()
                .map(|member| member.pid)
                .filter(|pid| !moved.contains(pid))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for pid in fresh {
                self.memory.enter(pid)?;
                if let Some(pressure) = &self.pressure {
                    pressure.enter(pid)?;
                }
                moved.insert(pid);
            }
        }
    }

    /// Removes them again: nobody was moved.
    pub fn remove(self) {
        for group in [Some(self.memory), self.pressure].into_iter().flatten() {
            let _ = group.remove(); // made a moment ago, and empty
        }
    }
}

/// Whether somebody is in the group of a hold, or below it.
///
/// # Errors
/// When it can't be read.
pub fn is_inhabited(record: &Record) -> Result<bool, HoldError> {
    match Group::open(record.interface(), &record.group) {
        Err(error) if error.is_gone() => Ok(false),
        group => Ok(!group?.holds_only(&BTreeSet::new())?),
    }
}

/// Moves everybody out of the groups of a hold and removes them, with the groups that were made in them.
///
/// # Errors
/// As `write(2)` and `rmdir(2)`.
pub fn give_back(record: &Record, homes: &Homes) -> Result<(), HoldError> {
    empty(record.interface(), &record.group, &homes.group)?;
    match (&record.pressure, &homes.pressure) {
        (Some(group), Some(home)) => empty(Version::V2, group, home),
        _ => Ok(()),
    }
}

fn empty(version: Version, path: &Path, home: &Path) -> Result<(), HoldError> {
    let group = match Group::open(version, path) {
        Err(error) if error.is_gone() => return Ok(()),
        group => group?,
    };
    let home = Group::open(version, home)?;
    for _ in 0..TRIES {
        drain(&group, &home)?;
        match group.remove() {
            Err(error) if error.errno() == Some(Errno::BUSY) => {
                std::thread::sleep(Duration::from_millis(5)); // a zombie, or one born meanwhile
            }
            removed => return Ok(removed?),
        }
    }
    Ok(group.remove()?)
}

const TRIES: usize = 200;

fn drain(group: &Group, home: &Group) -> Result<(), HoldError> {
    for child in group.children()? {
        drain(&child, home)?;
        child.remove()?;
    }
    for pid in group.processes()?.seen {
        home.enter(pid)?;
    }
    Ok(())
}

/// The group that a tree has to itself; `None` where it shares it, or is in the topmost.
///
/// # Errors
/// When `/proc` or the group can't be read.
pub fn alone(root: &Root, hierarchy: &Hierarchy, pid: u32) -> Result<Option<PathBuf>, HoldError> {
    let members = tree::members(root, pid, Extent::Whole)?;
    if members.is_empty() {
        return Err(HoldError::NoTarget {
            what: format!("process {pid}"),
        });
    }
    let memberships = root.read(format!("proc/{pid}/cgroup"))?;
    let path = hierarchy
        .group_of(&memberships, "memory")
        .ok_or(site::NoSite::Unseen { pid })?;
    if path == hierarchy.mount_point {
        return Ok(None);
    }
    let all = members.iter().map(|member| member.pid).collect();
    let alone = Group::open(hierarchy.version, &path)?.holds_only(&all)?;
    Ok(alone.then_some(path))
}
