//! Which processes make up a tree, each with a name that is never given twice.

use plimsoll_proc::process::sample::pids;
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::{ReadError, Root};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A process, named for ever: a pid may be given again, but not with the same start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessName {
    /// Process id, in our pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessName {
    /// The name of the process that has this pid now; `None` where there is none.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn of(root: &Root, pid: u32) -> Result<Option<Self>, ReadError> {
        Ok(stat(root, pid)?.map(|stat| Self::from_stat(&stat)))
    }

    /// Whether the process lives: neither gone nor a zombie.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn lives(self, root: &Root) -> Result<bool, ReadError> {
        let stat = stat(root, self.pid)?;
        Ok(stat.is_some_and(|stat| is_alive(&stat) && Self::from_stat(&stat) == self))
    }

    /// Its pid, as system calls take it.
    #[must_use]
    pub fn pid(self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }

    fn from_stat(stat: &Stat) -> Self {
        Self {
            pid: stat.pid,
            start_ticks: stat.starttime,
        }
    }
}

/// How much of a tree is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The process and all its descendants.
    Whole,
    /// The process alone.
    Only,
}

/// The living processes of a tree, parents before their children; we ourselves never belong to it. Empty where
/// the root of the tree is gone.
///
/// # Errors
/// When `/proc` can't be read.
pub fn members(root: &Root, top: u32, extent: Extent) -> Result<Vec<ProcessName>, ReadError> {
    let Some(first) = stat(root, top)? else {
        return Ok(Vec::new());
    };
    let mut children: BTreeMap<u32, Vec<Stat>> = BTreeMap::new();
    if extent == Extent::Whole {
        for pid in pids(root)? {
            if let Some(stat) = stat(root, pid)? {
                children.entry(stat.ppid).or_default().push(stat);
            }
        }
    }
    let mut found = Vec::new();
    let mut waiting = vec![first];
    while let Some(next) = waiting.pop() {
        waiting.extend(children.remove(&next.pid).unwrap_or_default());
        if is_alive(&next) && next.pid != std::process::id() {
            found.push(ProcessName::from_stat(&next));
        }
    }
    Ok(found)
}

fn is_alive(stat: &Stat) -> bool {
    !matches!(stat.state, b'Z' | b'X' | b'x') && !stat.is_kernel_thread()
}

fn stat(root: &Root, pid: u32) -> Result<Option<Stat>, ReadError> {
    match root.read(format!("proc/{pid}/stat")) {
        Ok(text) => Ok(Stat::parse(&text).ok()),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The threads of a process, its leader first; none where it is gone.
///
/// # Errors
/// When `/proc` can't be read.
pub fn threads(root: &Root, pid: u32) -> Result<Vec<Pid>, ReadError> {
    let names = match root.list(format!("proc/{pid}/task")) {
        Err(error) if error.is_gone() => return Ok(Vec::new()),
        names => names?,
    };
    let number = |name: std::ffi::OsString| Pid::from_raw(name.to_str()?.parse().ok()?);
    let mut threads: Vec<Pid> = names.into_iter().filter_map(number).collect();
    threads.sort_by_key(|tid| (tid.as_raw_pid().unsigned_abs() != pid, tid.as_raw_pid()));
    Ok(threads)
}
