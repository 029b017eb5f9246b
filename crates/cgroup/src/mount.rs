//! Where the cgroup hierarchies are mounted: v1 controllers, the unified v2 tree, or both (hybrid).
//!
//! `cgroups(7)`. A host may show one hierarchy at several places, each showing another part of it, and in a cgroup
//! namespace the root of what is shown may lie below, or even above, the namespace's own root: `mountinfo`
//! says so in its fourth field, in the same words as `/proc/PID/cgroup`.

use crate::{Error, v2};
use plimsoll_proc::mountinfo::{self, Mount};
use plimsoll_proc::process::cgroup::{self, Membership};
use plimsoll_proc::{Dir, ReadError, Root};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One tree for each controller, or for a few of them.
    V1,
    /// One tree for all.
    V2,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which interface it has.
    pub version: Version,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Which group is mounted there, as `/proc/PID/cgroup` would call it: `/` for the whole tree.
    pub root: PathBuf,
    /// Tells the hierarchies apart.
    pub device: (u32, u32),
}

/// The hierarchy that has this v1 controller (`memory`, `freezer`); `None` when it is not mounted.
#[must_use]
pub fn v1(mounts: &[Mount], controller: &str) -> Option<Hierarchy> {
    widest(mounts, Version::V1, |mount| {
        mount.fs_type == b"cgroup" && mount.has_super_option(controller.as_bytes())
    })
}

/// The unified hierarchy; `None` when it is not mounted.
#[must_use]
pub fn v2(mounts: &[Mount]) -> Option<Hierarchy> {
    widest(mounts, Version::V2, |mount| mount.fs_type == b"cgroup2")
}

/// Of all visible mounts of a hierarchy the one that shows most of it.
fn widest(mounts: &[Mount], version: Version, is_it: impl Fn(&Mount) -> bool) -> Option<Hierarchy> {
    let hidden = |index: usize, mount: &Mount| {
        let later = mounts.get(index.saturating_add(1)..).unwrap_or_default();
        later
            .iter()
            .any(|other| mount.mount_point.starts_with(&other.mount_point))
    };
    let candidates = mounts.iter().enumerate().filter(|(_, mount)| is_it(mount));
    let (_, mount) = candidates.min_by_key(|&(index, mount)| {
        (hidden(index, mount), mount.root.components().count(), index)
    })?;
    Some(Hierarchy {
        version,
        mount_point: mount.mount_point.clone(),
        root: mount.root.clone(),
        device: mount.device,
    })
}

/// The hierarchies with a memory controller: one as a rule, none where it is switched off.
///
/// # Errors
/// When the mounts, or the controllers of the unified hierarchy, can't be read.
pub fn memory(root: &Root) -> Result<Vec<Hierarchy>, Error> {
    let mounts = mountinfo::parse(&root.read("proc/self/mountinfo")?);
    let mut found = Vec::from_iter(v1(&mounts, "memory"));
    if let Some(unified) = v2(&mounts) {
        let top = unified.open(root)?;
        let controllers = v2::Files(&top).cgroup_controllers()?;
        if controllers.is_some_and(|controllers| controllers.has("memory")) {
            found.push(unified);
        }
    }
    Ok(found)
}

impl Hierarchy {
    /// Opens the topmost group that is shown.
    ///
    /// # Errors
    /// As `open(2)`; and [`Error::Covered`] when the mount point shows something else by now.
    pub fn open<'r>(&self, root: &'r Root) -> Result<Dir<'r>, Error> {
        let path = self.mount_point.strip_prefix("/");
        let path = path.unwrap_or(&self.mount_point);
        let top = root.open_dir(path)?;
        if root.is_live() && !self.is_device_of(&top)? {
            return Err(Error::Covered {
                path: self.mount_point.clone(),
            });
        }
        Ok(top)
    }

    fn is_device_of(&self, dir: &Dir<'_>) -> Result<bool, ReadError> {
        let (major, minor) = self.device;
        Ok(dir.id()?.device == rustix::fs::makedev(major, minor))
    }

    /// The directory of the group that a process is in, by the text of its `/proc/PID/cgroup`; `controller` is one that
    /// a v1 hierarchy has. `None` where the group lies outside what is mounted here.
    #[must_use]
    pub fn group_of(&self, memberships: &[u8], controller: &str) -> Option<PathBuf> {
        let is_ours = |m: &Membership<'_>| match self.version {
            Version::V2 => m.hierarchy == 0 && m.controllers.is_empty(),
            Version::V1 => {
                (m.controllers.split(|&b| b == b',')).any(|c| c == controller.as_bytes())
            }
        };
        let membership = cgroup::parse(memberships).find(is_ours)?;
        let path = Path::new(OsStr::from_bytes(membership.path));
        Some(self.mount_point.join(path.strip_prefix(&self.root).ok()?))
    }

    /// What `/proc/PID/cgroup` calls the group at `below` this mount.
    #[must_use]
    pub fn path_of(&self, below: &Path) -> PathBuf {
        self.root.join(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The development host: v1 controllers, and a unified hierarchy without memory.
    const HYBRID: &[u8] = include_bytes!("../fixtures/mountinfo-6.18-hybrid.txt");

    #[test]
    fn a_hybrid_host_has_both() {
        let mounts = mountinfo::parse(HYBRID);
        let memory = v1(&mounts, "memory").unwrap();
        assert_eq!(memory.mount_point, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!((memory.version, memory.device), (Version::V1, (0, 32)));
        assert_eq!(memory.path_of(Path::new("a/b")), Path::new("/a/b"));
        let unified = v2(&mounts).unwrap();
        assert_eq!(unified.mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(v1(&mounts, "net_cls"), None);
        assert_eq!(v1(&mounts, "mem"), None);

        let memberships = b"4:cpu,memory:/a/b\n2:freezer:/\n0::/c\n";
        let memory_of = |hierarchy: &Hierarchy| hierarchy.group_of(memberships, "memory");
        assert_eq!(memory_of(&memory), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(memory_of(&unified), Some("/sys/fs/cgroup/unified/c".into()));
        let shows_a_part = Hierarchy {
            root: "/a".into(),
            ..memory
        };
        assert_eq!(
            memory_of(&shows_a_part),
            Some("/sys/fs/cgroup/memory/b".into())
        );
        assert_eq!(shows_a_part.group_of(b"4:memory:/x\n", "memory"), None);
    }

    #[test]
    fn the_mount_that_shows_most_wins_and_a_hidden_one_loses() {
        let mounts = mountinfo::parse(
            b"1 0 0:9 / / rw - tmpfs none rw\n\
              2 1 0:30 /a /part rw - cgroup2 none rw\n\
              3 1 0:30 / /hidden/all rw - cgroup2 none rw\n\
              4 1 0:30 /a/b /inner rw - cgroup2 none rw\n\
              5 1 0:8 / /hidden rw - tmpfs none rw\n",
        );
        let unified = v2(&mounts).unwrap();
        assert_eq!(unified.mount_point, Path::new("/part"));
        assert_eq!(unified.path_of(Path::new("b")), Path::new("/a/b"));
    }

    #[test]
    fn a_host_without_cgroups_has_none() {
        assert_eq!(v2(&[]), None);
        let root = tempfile::tempdir().unwrap();
        let root = Root::captured(root.path()).unwrap();
        assert!(memory(&root).unwrap_err().is_gone());
    }
}
