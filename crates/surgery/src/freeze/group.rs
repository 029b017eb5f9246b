//! Groups frozen: one that the tree owns alone, as it is; else one of our own, below the group the tree is in.
//!
//! Moving processes one group down and back changes no limit they live under and no account they are charged
//! to. It is done only where the kernel allows it without asking more of the group.

use super::{FreezeError, FrozenBy, Member};
use crate::tree::ProcessName;
use plimsoll_cgroup::mount::Hierarchy;
use plimsoll_proc::Root;
use plimsoll_proc::process::cgroup::{self, Membership};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
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
        match home(by, hierarchy, &text) {
            Some(path) => homes.entry(path).or_default().push(pid),
            None => return Ok(None),
        }
    }
    let top = members.first().map_or(0, |member| member.name.pid);
    let mut groups = Vec::new();
    for (path, pids) in homes {
        if state(by, &path).is_some_and(|state| state != State::Running) {
            return Ok(None);
        }
        let is_top = path == hierarchy.mount_point;
        let alone = !is_top && holds_only(&path, &all);
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

/// The directory of the group that a process is in.
fn home(by: FrozenBy, hierarchy: &Hierarchy, memberships: &[u8]) -> Option<PathBuf> {
    let wanted = |m: &Membership<'_>| match by {
        FrozenBy::CgroupV2 => m.hierarchy == 0 && m.controllers.is_empty(),
        _ => m.controllers.split(|&b| b == b',').any(|c| c == b"freezer"),
    };
    let membership = cgroup::parse(memberships).find(wanted)?;
    let path = Path::new(OsStr::from_bytes(membership.path));
    let below = path.strip_prefix(&hierarchy.root).ok()?;
    Some(hierarchy.mount_point.join(below))
}

/// Whether the group of a process stands, or is about to.
pub(super) fn is_frozen(by: FrozenBy, hierarchy: &Hierarchy, memberships: &[u8]) -> bool {
    home(by, hierarchy, memberships)
        .and_then(|path| state(by, &path))
        .is_some_and(|state| state != State::Running)
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

/// Whether nobody but `all` is in a group or below it.
fn holds_only(path: &Path, all: &BTreeSet<u32>) -> bool {
    let Ok(pids) = processes(path) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(path) else {
        return false;
    };
    pids.iter().all(|pid| all.contains(pid))
        && entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .all(|entry| holds_only(&entry.path(), all))
}

fn processes(path: &Path) -> Result<Vec<u32>, FreezeError> {
    let file = path.join("cgroup.procs");
    let text = fs::read_to_string(&file).map_err(|source| failed("read", file, source))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Freezing,
    Frozen,
}

/// How a group stands. `None` where it has no freezer: the top of a hierarchy.
fn state(by: FrozenBy, path: &Path) -> Option<State> {
    if by == FrozenBy::CgroupV1 {
        return match fs::read_to_string(path.join("freezer.state")).ok()?.trim() {
            "THAWED" => Some(State::Running),
            "FREEZING" => Some(State::Freezing),
            _ => Some(State::Frozen),
        };
    }
    let asked = fs::read_to_string(path.join("cgroup.freeze")).ok()?.trim() == "1";
    let events = fs::read_to_string(path.join("cgroup.events")).ok()?;
    Some(match (events.contains("frozen 1"), asked) {
        (true, _) => State::Frozen,
        (false, true) => State::Freezing,
        (false, false) => State::Running,
    })
}

impl Group {
    pub(super) fn freeze(&self, by: FrozenBy) -> Result<(), FreezeError> {
        if let Some(pids) = &self.moved {
            match fs::create_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // left by one who died here
                made => made.map_err(|source| failed("make", self.path.clone(), source))?,
            }
            pids.iter().try_for_each(|pid| enter(&self.path, *pid))?;
        }
        self.set(by, true)
    }

    fn set(&self, by: FrozenBy, frozen: bool) -> Result<(), FreezeError> {
        let (file, words) = match by {
            FrozenBy::CgroupV1 => ("freezer.state", ["THAWED", "FROZEN"]),
            _ => ("cgroup.freeze", ["0", "1"]),
        };
        let [thawed, freezing] = words;
        write(self.path.join(file), if frozen { freezing } else { thawed })
    }

    /// v1 gets stuck in `FREEZING` when a thread could not be frozen at once (`cgroup-v1/freezer-subsystem.rst`): it
    /// is told again.
    pub(super) fn confirm(&self, by: FrozenBy, timeout: Duration) -> Result<(), FreezeError> {
        let begun = Instant::now();
        while state(by, &self.path) != Some(State::Frozen) {
            if begun.elapsed() >= timeout {
                return Err(FreezeError::Slow {
                    what: format!("control group {}", self.path.display()),
                    waited: begun.elapsed(),
                });
            }
            if by == FrozenBy::CgroupV1 {
                self.set(by, true)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(super) fn thaw(&self, by: FrozenBy) -> Result<(), FreezeError> {
        if !self.path.exists() {
            return Ok(());
        }
        if state(by, &self.path) != Some(State::Running) {
            self.set(by, false)?;
        }
        if self.moved.is_none() {
            return Ok(());
        }
        let above = self.path.parent().unwrap_or(&self.path);
        // Whoever is in it now, children that were born meanwhile included.
        for _ in 0..TRIES {
            for pid in processes(&self.path)? {
                enter(above, pid)?;
            }
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(5)); // a zombie that nobody reaped yet
                }
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", self.path.clone(), error));
                }
                _ => return Ok(()),
            }
        }
        Ok(()) // empty but for zombies: the next to pass by removes it
    }
}

/// How often an own group is tried to be removed.
const TRIES: u32 = 20;

/// Moves a process, which may have ended.
fn enter(path: &Path, pid: u32) -> Result<(), FreezeError> {
    match write(path.join("cgroup.procs"), &pid.to_string()) {
        Err(FreezeError::Group { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {
            Ok(())
        }
        moved => moved,
    }
}

fn write(path: PathBuf, words: &str) -> Result<(), FreezeError> {
    fs::write(&path, words).map_err(|source| failed("write to", path, source))
}

fn failed(operation: &'static str, path: PathBuf, source: std::io::Error) -> FreezeError {
    FreezeError::Group {
        operation,
        path,
        source,
    }
}
