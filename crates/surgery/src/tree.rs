//! Which processes make up a tree, each with a name that is never given twice.

use plimsoll_proc::process::sample::pids;
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::text::{number, words};
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
    let mut found = Vec::new();
    let mut waiting = vec![first];
    let mut lineage = Lineage::default();
    while let Some(next) = waiting.pop() {
        if extent == Extent::Whole {
            for child in lineage.children(root, next.pid)? {
                // One that changed hands since is found below its new parent, or is of the tree no more.
                waiting.extend(stat(root, child)?.filter(|stat| stat.ppid == next.pid));
            }
        }
        if is_alive(&next) && next.pid != std::process::id() {
            found.push(ProcessName::from_stat(&next));
        }
    }
    Ok(found)
}

/// Who is whose child.
#[derive(Default)]
struct Lineage {
    /// All processes by parent, where the kernel doesn't list children.
    scanned: Option<BTreeMap<u32, Vec<u32>>>,
}

impl Lineage {
    /// The children of a process: the lists of its threads (`task/TID/children`, `CONFIG_PROC_CHILDREN`), which are
    /// only sure to be whole once the parent stands still; else a look at every process there is.
    fn children(&mut self, root: &Root, pid: u32) -> Result<Vec<u32>, ReadError> {
        if self.scanned.is_none() {
            let lists = children_of_threads(root, pid)?;
            if let Some(children) = lists {
                return Ok(children);
            }
            let mut scanned: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for pid in pids(root)? {
                if let Some(stat) = stat(root, pid)? {
                    scanned.entry(stat.ppid).or_default().push(stat.pid);
                }
            }
            self.scanned = Some(scanned);
        }
        let children = self
            .scanned
            .as_mut()
            .and_then(|scanned| scanned.remove(&pid));
        Ok(children.unwrap_or_default())
    }
}

/// `None` where the kernel keeps no such lists.
fn children_of_threads(root: &Root, pid: u32) -> Result<Option<Vec<u32>>, ReadError> {
    let threads = threads(root, pid)?;
    let mut children = Vec::new();
    let mut listed = threads.is_empty();
    for tid in threads {
        match root.read(format!("proc/{pid}/task/{}/children", tid.as_raw_pid())) {
            Ok(text) => {
                listed = true;
                let pid = |word| u32::try_from(number(word)?).ok();
                children.extend(words(&text).filter_map(pid));
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    // Nothing could be read of a process that lives: there are no such files.
    Ok((listed || stat(root, pid)?.is_none()).then_some(children))
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
