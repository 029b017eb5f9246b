//! What `look` reads of every group: a few small files each, in one walk.

use crate::format::Pids;
use crate::mount::{self, Hierarchy, Version};
use crate::walk::{self, Visit};
use crate::{Error, v1, v2};
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::{Dir, DirId, Root, cgroups};
use plimsoll_units::{Bytes, Limit};
use std::ffi::OsString;
use std::path::Path;

/// All groups with a memory controller.
#[derive(Debug, Default)]
pub struct Sample {
    /// One for each hierarchy: one as a rule, two while a host moves from v1 to v2.
    pub trees: Vec<Tree>,
    /// What could not be read.
    pub errors: Vec<Error>,
}

/// The groups of one hierarchy.
#[derive(Debug)]
pub struct Tree {
    /// Where it is.
    pub hierarchy: Hierarchy,
    /// Parents before their children; the first is the topmost that is shown.
    pub groups: Vec<Group>,
    /// Groups that were removed during the walk.
    pub vanished: u64,
    /// How many groups of the whole hierarchy are removed and still refer to memory: v1 counts them in
    /// `/proc/cgroups` only, v2 in each group's `cgroup.stat`.
    pub dying: Option<u64>,
}

/// One group.
#[derive(Debug)]
pub struct Group {
    /// Its name in its parent: any bytes but `/` and NUL. Empty for the topmost.
    pub name: OsString,
    /// Its parent's place in [`Tree::groups`].
    pub parent: Option<usize>,
    /// Its inode is the kernel's id for it.
    pub id: DirId,
    /// The processes in it, without those below; `None` for a threaded group, whose processes are its domain's.
    pub procs: Option<Pids>,
    /// What it holds and its limits; all `None` where the controller is not enabled.
    pub memory: Memory,
}

/// The memory files of a group.
#[derive(Debug)]
pub enum Memory {
    /// Of the v1 controller.
    V1(MemoryV1),
    /// Of the v2 controller.
    V2(MemoryV2),
}

/// See [`v1::Files`].
#[derive(Debug, Default)]
#[expect(
    missing_docs,
    reason = "named after the files that v1::Files describes"
)]
pub struct MemoryV1 {
    pub usage: Option<Bytes>,
    pub limit: Option<Limit>,
    pub memsw_limit: Option<Limit>,
    pub kmem_usage: Option<Bytes>,
    pub tcp_usage: Option<Bytes>,
    pub stat: Option<v1::MemoryStat>,
}

/// See [`v2::Files`].
#[derive(Debug, Default)]
#[expect(
    missing_docs,
    reason = "named after the files that v2::Files describes"
)]
pub struct MemoryV2 {
    pub current: Option<Bytes>,
    pub high: Option<Limit>,
    pub max: Option<Limit>,
    pub swap_current: Option<Bytes>,
    pub swap_max: Option<Limit>,
    pub stat: Option<v2::MemoryStat>,
    pub pressure: Option<Pressure>,
    pub descendants: Option<v2::Descendants>,
}

impl Sample {
    /// Reads all groups of all hierarchies with a memory controller.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let mut sample = Self::default();
        match mount::memory(root) {
            Ok(hierarchies) => {
                for hierarchy in hierarchies {
                    sample.add(root, hierarchy);
                }
            }
            Err(error) => sample.errors.push(error),
        }
        sample
    }

    fn add(&mut self, root: &Root, hierarchy: Hierarchy) {
        match hierarchy.open(root) {
            Ok(top) => {
                let (mut tree, errors) = Tree::read(hierarchy, top);
                tree.dying = dying(root, &tree);
                self.trees.push(tree);
                self.errors.extend(errors);
            }
            Err(error) => self.errors.push(error),
        }
    }
}

impl Tree {
    /// Reads `top` and all groups below it, and says what could not be read.
    #[must_use]
    pub fn read(hierarchy: Hierarchy, top: Dir<'_>) -> (Self, Vec<Error>) {
        let mut groups = Vec::new();
        let mut errors = Vec::new();
        let seen = walk::walk(top, |visit| {
            let group = Group::read(visit, hierarchy.version, &mut errors)?;
            groups.push(group);
            Some(groups.len().saturating_sub(1))
        });
        errors.extend(seen.errors);
        let tree = Self {
            hierarchy,
            groups,
            vanished: seen.vanished,
            dying: None,
        };
        (tree, errors)
    }
}

/// The groups that a v1 hierarchy counts and does not show; `None` where only a part of it is mounted.
fn dying(root: &Root, tree: &Tree) -> Option<u64> {
    if tree.hierarchy.version != Version::V1 || tree.hierarchy.root != Path::new("/") {
        return None;
    }
    let text = root.read("proc/cgroups").ok()?;
    let memory = cgroups::parse(&text).find(|controller| controller.name == b"memory")?;
    let shown = u64::try_from(tree.groups.len()).ok()?;
    Some(memory.groups.saturating_sub(shown))
}

impl Group {
    /// `None` when the group vanished meanwhile.
    fn read(visit: &Visit<'_, '_>, version: Version, errors: &mut Vec<Error>) -> Option<Self> {
        let memory = match version {
            Version::V1 => Memory::V1(MemoryV1::read(v1::Files(visit.dir), errors)),
            Version::V2 => Memory::V2(MemoryV2::read(v2::Files(visit.dir), errors)),
        };
        // Last, because every group has this file: while it is there, a file that was not is one that this
        // kernel does not have.
        let procs = match v2::Files(visit.dir).cgroup_procs() {
            Ok(procs) => Some(procs?),
            Err(_threaded_or_refused) => None,
        };
        Some(Self {
            name: visit.name.to_owned(),
            parent: visit.parent,
            id: visit.id,
            procs,
            memory,
        })
    }
}

impl MemoryV1 {
    fn read(files: v1::Files<'_>, errors: &mut Vec<Error>) -> Self {
        Self {
            usage: or_note(files.usage(), errors),
            limit: or_note(files.limit(), errors),
            memsw_limit: or_note(files.memsw_limit(), errors),
            kmem_usage: or_note(files.kmem_usage(), errors),
            tcp_usage: or_note(files.tcp_usage(), errors),
            stat: or_note(files.stat(), errors),
        }
    }
}

impl MemoryV2 {
    fn read(files: v2::Files<'_>, errors: &mut Vec<Error>) -> Self {
        Self {
            current: or_note(files.memory_current(), errors),
            high: or_note(files.memory_high(), errors),
            max: or_note(files.memory_max(), errors),
            swap_current: or_note(files.memory_swap_current(), errors),
            swap_max: or_note(files.memory_swap_max(), errors),
            stat: or_note(files.memory_stat(), errors),
            pressure: files.memory_pressure().unwrap_or_default(), // refused where psi=0 was booted with
            descendants: or_note(files.cgroup_stat(), errors),
        }
    }
}

/// A file that is refused leaves the rest of its group readable.
fn or_note<T>(file: Result<Option<T>, Error>, errors: &mut Vec<Error>) -> Option<T> {
    file.unwrap_or_else(|error| {
        errors.push(error);
        None
    })
}
