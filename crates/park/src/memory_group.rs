//! The control group that a process's memory is charged to: how much more it may hold, how much of it may still be
//! swapped, and the kernel asked to reclaim all of it (`Documentation/admin-guide/cgroup-v2.rst`,
//! `cgroup-v1/memory.rst`).
//!
//! v1 limits memory and swap together: what is paged out changes neither that sum nor what is left of it.

use plimsoll_cgroup::mount::{self, Version};
use plimsoll_cgroup::write::Group;
use plimsoll_proc::Root;
use plimsoll_proc::text::{lines, number, words};
use plimsoll_units::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The memory group of a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemoryGroup {
    path: PathBuf,
    top: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    /// That of a process; `None` where there is no memory controller, or it can't be seen from here.
    pub(crate) fn of(root: &Root, pid: u32) -> Option<Self> {
        let memberships = root.read(format!("proc/{pid}/cgroup")).ok()?;
        mount::memory(root).ok()?.into_iter().find_map(|hierarchy| {
            Some(Self {
                path: hierarchy.group_of(&memberships, "memory")?,
                is_v2: hierarchy.version == Version::V2,
                top: hierarchy.mount_point,
            })
        })
    }

    /// What may still be swapped out, by this group's limit or one above; `None` without any.
    pub(crate) fn swap_left(&self) -> Option<Bytes> {
        let left =
            |group: &Path| left(group, "memory.swap.max", "memory.swap.current", Bytes::ZERO);
        self.is_v2.then(|| self.groups().filter_map(left).min())?
    }

    /// What it may still hold, page cache given up; `None` without a limit.
    pub(crate) fn room(&self) -> Option<Bytes> {
        let (limit, usage, cache) = match self.is_v2 {
            true => ("memory.max", "memory.current", "file"),
            false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "cache"),
        };
        let room = |group: &Path| left(group, limit, usage, stat(group, cache));
        self.groups().filter_map(room).min()
    }

    /// Whether nobody but these is in it, or below.
    pub(crate) fn holds_only(&self, all: &BTreeSet<u32>) -> bool {
        let version = if self.is_v2 { Version::V2 } else { Version::V1 };
        let alone = Group::open(version, &self.path).and_then(|group| group.holds_only(all));
        self.path != self.top && alone.unwrap_or(false)
    }

    /// Has the kernel reclaim all of it. What remains is seen in the processes: the answer says little
    /// (`EAGAIN` also when most of it has gone).
    pub(crate) fn reclaim(&self) {
        let _ = match self.is_v2 {
            // Linux 5.19, commit 94968384dde1.
            true => {
                let all = read(&self.path, "memory.current").unwrap_or_default();
                std::fs::write(self.path.join("memory.reclaim"), all)
            }
            false => std::fs::write(self.path.join("memory.force_empty"), "0"),
        };
    }

    /// It and those above it.
    fn groups(&self) -> impl Iterator<Item = &Path> {
        let ours = |group: &&Path| group.starts_with(&self.top);
        self.path.ancestors().take_while(ours)
    }
}

fn read(group: &Path, file: &str) -> Option<Vec<u8>> {
    std::fs::read(group.join(file)).ok()
}

/// The limit, and on top what could be given up, less what is used; `None` where there is no limit.
fn left(group: &Path, limit: &str, usage: &str, cache: Bytes) -> Option<Bytes> {
    let limit = number(read(group, limit)?.trim_ascii()).map(Bytes)?;
    let used = number(read(group, usage)?.trim_ascii()).map(Bytes)?;
    Some(limit - (used - cache))
}

/// A value of `memory.stat`.
fn stat(group: &Path, name: &str) -> Bytes {
    let text = read(group, "memory.stat").unwrap_or_default();
    let value = |line| {
        let mut words = words(line);
        (words.next()? == name.as_bytes()).then(|| words.next())?
    };
    let found = lines(&text).find_map(value);
    found.and_then(number).map_or(Bytes::ZERO, Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(dir: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_narrowest_limit_above_counts_and_cache_is_no_obstacle() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        let own = [
            ("memory.max", "1000\n"),
            ("memory.current", "900\n"),
            ("memory.stat", "anon 300\nfile 500\n"),
            ("memory.swap.max", "max\n"),
            ("memory.swap.current", "5\n"),
            ("cgroup.procs", "7\n8\n"),
        ];
        group(&path, &own);
        let above = [("memory.swap.max", "50\n"), ("memory.swap.current", "20\n")];
        group(&top.path().join("a"), &above);
        let group = MemoryGroup {
            path,
            top: top.path().to_owned(),
            is_v2: true,
        };
        assert_eq!(group.room(), Some(Bytes(600)));
        assert_eq!(group.swap_left(), Some(Bytes(30)));
        assert!(group.holds_only(&[7, 8, 9].into()));
        assert!(!group.holds_only(&[7].into()));
    }

    #[test]
    fn v1_has_no_limit_of_swap_alone() {
        let top = tempfile::tempdir().unwrap();
        let limit = u64::try_from(i64::MAX).unwrap().to_string();
        let own = [
            ("memory.limit_in_bytes", limit.as_str()),
            ("memory.usage_in_bytes", "4096"),
        ];
        group(top.path(), &own);
        let group = MemoryGroup {
            path: top.path().to_owned(),
            top: top.path().to_owned(),
            is_v2: false,
        };
        assert_eq!(group.swap_left(), None);
        assert!(group.room().unwrap() > Bytes(1 << 60));
        assert!(!group.holds_only(&BTreeSet::new()), "never the whole host");
    }
}
