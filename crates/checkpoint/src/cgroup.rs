//! Hierarchies of control groups (`cgroups(7)`), reached without a path: a mount of our own that is nowhere in the tree of
//! mounts (`fsopen(2)`, Linux 5.2), since a hierarchy may be mounted nowhere, or only where the tree sees it.

use crate::error::Error;
use plimsoll_proc::process::cgroup;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::fs::File;
use std::io::Read;

/// The group that a task is in, of one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The hierarchy's controllers as `/proc/PID/cgroup` has them: `cpu,cpuacct`, `name=systemd`; empty for v2.
    pub(crate) name: String,
    /// Begins with `/`.
    pub(crate) path: String,
}

/// The groups of a task, in order of their hierarchies; `task` is its directory in `/proc`.
pub(crate) fn members(task: &str) -> Result<Vec<Member>, Error> {
    let path = format!("/proc/{task}/cgroup");
    let text = std::fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
    let member = |line: cgroup::Membership<'_>| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned());
        let odd = |_| Error::inconsistent("the name of a control group is no UTF-8");
        Ok(Member {
            name: text(line.controllers).map_err(odd)?,
            path: text(line.path).map_err(odd)?,
        })
    };
    let mut members: Vec<Member> = cgroup::parse(&text)
        .map(member)
        .collect::<Result<_, Error>>()?;
    members.sort();
    Ok(members)
}

/// A hierarchy, as long as we hold it.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    name: String,
    top: OwnedFd,
}

impl Hierarchy {
    /// The one of these controllers.
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let top = mount(name).map_err(|errno| {
            Error::file("open", format!("the control groups of {name:?}"), errno)
        })?;
        Ok(Self {
            name: name.to_owned(),
            top,
        })
    }

    /// Where paths begin.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// A path below its top, as `*at` calls take it.
    pub(crate) fn below(path: &str) -> &str {
        match path.trim_start_matches('/') {
            "" => ".",
            below => below,
        }
    }

    pub(crate) fn open_at(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        openat(&self.top, Self::below(path), flags, Mode::empty())
    }

    pub(crate) fn is_there(&self, path: &str) -> bool {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// What a file of a group says.
    pub(crate) fn read(&self, path: &str) -> rustix::io::Result<String> {
        let mut file = File::from(self.open_at(path, OFlags::RDONLY)?);
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// Says something to a file of a group, in one call.
    pub(crate) fn write(&self, path: &str, text: &str) -> rustix::io::Result<()> {
        let file = self.open_at(path, OFlags::WRONLY)?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    }

    /// An error about one of its groups, or a file of one.
    pub(crate) fn failed(&self, operation: &'static str, path: &str, errno: Errno) -> Error {
        Error::file(
            operation,
            format!("control group {}:{path}", self.name),
            errno,
        )
    }
}

fn mount(name: &str) -> rustix::io::Result<OwnedFd> {
    let kind = if name.is_empty() { "cgroup2" } else { "cgroup" };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for part in name.split(',').filter(|part| !part.is_empty()) {
        match part.strip_prefix("name=") {
            Some(name) => fsconfig_set_string(&context, "name", name)?,
            None => fsconfig_set_flag(&context, part)?,
        }
    }
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    fsmount(&context, flags, MountAttrFlags::empty())
}

/// The files of a group that say how it is set up, by controller; `cgroup.procs` and `tasks` for who may write them.
pub(crate) fn properties(name: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    let controllers = name.split(',');
    let of = |controller: &str| {
        let row = PROPERTIES.iter().find(|(name, _)| *name == controller);
        row.map_or::<&[&str], _>(&[], |(_, files)| files).iter()
    };
    let every = if name.is_empty() { &[] } else { EVERY_V1 };
    controllers.flat_map(of).chain(every).copied()
}

const EVERY_V1: &[&str] = &[
    "cgroup.clone_children",
    "notify_on_release",
    "cgroup.procs",
    "tasks",
];

const PROPERTIES: &[(&str, &[&str])] = &[
    (
        "cpuset",
        &[
            "cpuset.cpus",
            "cpuset.mems",
            "cpuset.memory_migrate",
            "cpuset.cpu_exclusive",
            "cpuset.mem_exclusive",
            "cpuset.mem_hardwall",
            "cpuset.memory_spread_page",
            "cpuset.memory_spread_slab",
            "cpuset.sched_load_balance",
            "cpuset.sched_relax_domain_level",
        ],
    ),
    (
        "cpu",
        &[
            "cpu.shares",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.rt_period_us",
            "cpu.rt_runtime_us",
        ],
    ),
    (
        "memory",
        &[
            "memory.use_hierarchy",
            "memory.oom_control",
            "memory.swappiness",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
        ],
    ),
    ("blkio", &["blkio.weight"]),
    ("devices", &["devices.list"]),
    ("net_cls", &["net_cls.classid"]),
    ("net_prio", &["net_prio.ifpriomap"]),
    ("pids", &["pids.max"]),
    (
        "",
        &[
            "cgroup.type",
            "cgroup.subtree_control",
            "cgroup.max.descendants",
            "cgroup.max.depth",
            "cgroup.procs",
            "cgroup.threads",
            "cpu.weight",
            "cpu.max",
            "cpuset.cpus",
            "cpuset.mems",
            "io.weight",
            "memory.min",
            "memory.low",
            "memory.high",
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
        ],
    ),
];

/// What a file of a group says that can be written to it again.
pub(crate) fn value(hierarchy: &Hierarchy, group: &str, file: &str) -> rustix::io::Result<String> {
    if WHO.contains(&file) {
        return Ok(String::new());
    }
    let text = hierarchy.read(&format!("{group}/{file}"))?;
    // `oom_kill_disable 0`, and what can't be written.
    let switch = || text.lines().next()?.split(' ').nth(1);
    Ok(match file {
        "memory.oom_control" => switch().unwrap_or("0").to_owned(),
        _ => text,
    })
}

/// Files that say who is in a group: not what they say is kept, but who may write them.
pub(crate) const WHO: [&str; 3] = ["cgroup.procs", "cgroup.threads", "tasks"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_those_of_all_controllers_of_a_hierarchy() {
        let both: Vec<&str> = properties("cpu,pids").collect();
        for file in ["cpu.shares", "pids.max", "tasks"] {
            assert!(both.contains(&file), "{file}");
        }
        assert!(properties("").any(|file| file == "cgroup.subtree_control"));
        assert!(!properties("").any(|file| file == "tasks"));
        assert_eq!(properties("name=systemd").count(), EVERY_V1.len());
    }

    #[test]
    fn paths_begin_at_the_top() {
        assert_eq!(["/", "", "/a/b"].map(Hierarchy::below), [".", ".", "a/b"]);
    }
}
