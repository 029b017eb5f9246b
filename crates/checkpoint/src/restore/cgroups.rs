//! Control groups: made where they are missing, and entered by those who were in them.
//!
//! Groups are made before the first task, which enters its own at once, so that its memory is charged there; children are born
//! in their parent's groups and go on to theirs. What limits a group is set when everything is there. A hierarchy of which
//! the images know no group is left alone: the tree is where its restorer is.

use super::crew::{Crew, Member};
use super::task::Task;
use crate::cgroup::{Hierarchy, WHO, members, value};
use crate::error::Error;
use crate::snapshot::{Process, Snapshot};
use plimsoll_image::proto::{
    CgMemberEntry, CgroupDirEntry, CgroupPerms, CgroupPropEntry, CoreEntry,
};
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, chownat, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::collections::BTreeMap;

/// What is done about control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManageGroups {
    /// Nothing: the tree stays in its restorer's.
    Ignore,
    /// Who was in a group that is there enters it.
    #[default]
    Enter,
    /// All groups have to be there, and are entered: CRIU's `none`.
    Expect,
    /// All groups have to be there; they are set up as they were, and entered: CRIU's `props`.
    SetUp,
    /// Missing groups are made and set up, all are entered: CRIU's `soft`.
    Make,
    /// Missing groups are made, all are set up and entered: CRIU's `full`.
    MakeAndSetUp,
    /// No group may be there: CRIU's `strict`.
    MakeAll,
}

/// Paths that take the place of topmost groups of the images: by hierarchy, and for all others by no name.
pub type GroupRoots = BTreeMap<Option<String>, String>;

/// The group that a task was in, of one hierarchy.
struct Place {
    name: String,
    path: String,
    /// How long the path is down to the root of the tree's cgroup namespace.
    above: Option<usize>,
}

/// The groups of a tree.
pub(super) struct Groups {
    manage: ManageGroups,
    /// Sets of groups, by number.
    sets: BTreeMap<u32, Vec<Place>>,
    /// By name; only those of which the images know groups.
    hierarchies: BTreeMap<String, Hierarchy>,
    /// Groups of our making: hierarchy and path, parents before what is below them.
    made: Vec<(String, String)>,
    /// What is set when everything is there.
    later: Vec<(String, String, CgroupPropEntry)>,
}

impl Groups {
    /// Makes what is missing.
    pub(super) fn prepare(
        snapshot: &Snapshot,
        manage: ManageGroups,
        roots: &GroupRoots,
    ) -> Result<Self, Error> {
        let mut groups = Self {
            manage,
            sets: BTreeMap::new(),
            hierarchies: BTreeMap::new(),
            made: Vec::new(),
            later: Vec::new(),
        };
        let image = snapshot.cgroups.as_ref();
        let Some(image) = image.filter(|_| manage != ManageGroups::Ignore) else {
            return Ok(groups);
        };
        for set in &image.sets {
            let places = set.ctls.iter().map(Place::of).collect();
            groups.sets.insert(set.id, places);
        }
        let present = members("thread-self")?;
        for controller in &image.controllers {
            let names: Vec<String> = controller.cnames.iter().map(|name| text(name)).collect();
            let name = names.join(",");
            let is_here = present.iter().any(|it| it.name == name);
            if controller.dirs.is_empty() || (manage == ManageGroups::Enter && !is_here) {
                continue;
            }
            groups
                .hierarchies
                .insert(name.clone(), Hierarchy::open(&name)?);
            let root = roots.get(&Some(name.clone())).or_else(|| roots.get(&None));
            for dir in &controller.dirs {
                let old = text(&dir.dir_name);
                if let Some(new) = root {
                    groups.move_root(&name, &old, new);
                }
                groups.directory(&name, root.unwrap_or(&old), dir)?;
            }
        }
        Ok(groups)
    }

    /// Puts another path in the place of a topmost group.
    fn move_root(&mut self, name: &str, old: &str, new: &str) {
        let new = format!("/{}", new.trim_matches('/'));
        let places = self.sets.values_mut().flatten();
        for place in places.filter(|place| place.name == name) {
            let is_below = place.path.trim_start_matches('/').starts_with(old);
            let rest = place.path.get(place.above.unwrap_or(old.len() + 1)..);
            if let Some(rest) = rest.filter(|_| is_below) {
                place.path = format!("{new}{rest}");
                place.above = place.above.map(|_| new.len());
            }
        }
    }

    /// Makes a group and those below it, or finds them, as is wanted.
    fn directory(&mut self, name: &str, path: &str, dir: &CgroupDirEntry) -> Result<(), Error> {
        use ManageGroups as Manage;
        let Some(hierarchy) = self.hierarchies.get(name) else {
            return Ok(());
        };
        let path = format!("/{}", path.trim_matches('/'));
        let is_there = hierarchy.is_there(&path);
        let failed = |operation, errno| hierarchy.failed(operation, &path, errno);
        let sets_up = match (self.manage, is_there) {
            (Manage::Ignore | Manage::Enter, _) => return Ok(()),
            (Manage::Expect | Manage::SetUp, false) => return Err(failed("find", Errno::NOENT)),
            (Manage::MakeAll, true) => return Err(failed("make", Errno::EXIST)),
            (Manage::Expect | Manage::Make, true) => false,
            (Manage::SetUp | Manage::MakeAndSetUp, true) => true,
            (Manage::Make | Manage::MakeAndSetUp | Manage::MakeAll, false) => {
                make(hierarchy, &path, |made| {
                    self.made.push((name.to_owned(), made.to_owned()));
                })?;
                true
            }
        };
        if sets_up && path != "/" {
            permit(hierarchy, &path, dir.dir_perms.as_ref())
                .map_err(|errno| failed("give away", errno))?;
            for property in &dir.properties {
                let is_early = EARLY.contains(&text(&property.name).as_str());
                if is_early && !is_there {
                    set(hierarchy, &path, property)?;
                } else if !is_early {
                    let later = (name.to_owned(), path.clone(), property.clone());
                    self.later.push(later);
                }
            }
        }
        dir.children.iter().try_for_each(|child| {
            let below = format!("{path}/{}", text(&child.dir_name));
            self.directory(name, &below, child)
        })
    }

    /// The first task enters its groups, and begins a cgroup namespace where its tree had one.
    pub(super) fn enter_first(&self, task: &mut Task, process: &Process) -> Result<(), Error> {
        let Some(set) = process
            .threads
            .first()
            .and_then(|(_, core)| self.set_of(core))
        else {
            return Ok(());
        };
        let mut is_apart = false;
        for place in set {
            if let Some(above) = place.above.and_then(|length| place.path.get(..length)) {
                self.enter(task, place, above, "cgroup.procs")?;
                is_apart = true;
            }
        }
        if is_apart {
            let flag = u64::from(libc::CLONE_NEWCGROUP.unsigned_abs());
            task.call("begin a cgroup namespace in", libc::SYS_unshare, [flag])?;
        }
        self.enter_all(task, set, "cgroup.procs")
    }

    /// A process enters its groups, if they are not its parent's.
    pub(super) fn enter_process(
        &self,
        member: &Member,
        process: &Process,
        parent: Option<&Process>,
    ) -> Result<(), Error> {
        let leader = |process: &Process| process.threads.first().map(|(_, core)| core.clone());
        let core = leader(process);
        let inherits = parent
            .is_none_or(|parent| leader(parent).as_ref().map(set_id) == core.as_ref().map(set_id));
        match core.as_ref().and_then(|core| self.set_of(core)) {
            Some(set) if !inherits => self.enter_all(&member.leader, set, "cgroup.procs"),
            _ => Ok(()),
        }
    }

    /// Threads of all processes enter their groups, where those are not their leader's.
    pub(super) fn enter_threads(&self, crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
        let living = snapshot.processes.iter().filter(|it| it.mm.is_some());
        for process in living {
            let own = process.threads.first().and_then(|(_, core)| set_id(core));
            let tasks = crew.member(process.pid())?.all();
            for (task, (_, core)) in tasks.zip(&process.threads) {
                let set = self.set_of(core).filter(|_| set_id(core) != own);
                set.map_or(Ok(()), |set| self.enter_all(task, set, "tasks"))?;
            }
        }
        Ok(())
    }

    fn enter_all(&self, task: &Task, set: &[Place], file: &str) -> Result<(), Error> {
        let mut places = set.iter();
        places.try_for_each(|place| self.enter(task, place, &place.path, file))
    }

    fn enter(&self, task: &Task, place: &Place, path: &str, file: &str) -> Result<(), Error> {
        let Some(hierarchy) = self.hierarchies.get(&place.name) else {
            return Ok(());
        };
        if self.manage == ManageGroups::Enter && !hierarchy.is_there(path) {
            return Ok(());
        }
        let file = match file {
            "tasks" if place.name.is_empty() => "cgroup.threads",
            file => file,
        };
        let who = task.tid.as_raw_pid().to_string();
        let entered = hierarchy.write(&format!("{path}/{file}"), &who);
        entered.map_err(|errno| hierarchy.failed("enter", path, errno))
    }

    fn set_of(&self, core: &CoreEntry) -> Option<&[Place]> {
        self.sets.get(&set_id(core)?).map(Vec::as_slice)
    }

    /// Everything is there: groups are set up.
    pub(super) fn finish(&self) -> Result<(), Error> {
        for (name, path, property) in &self.later {
            if let Some(hierarchy) = self.hierarchies.get(name) {
                set(hierarchy, path, property)?;
            }
        }
        Ok(())
    }

    /// The tree lives: its groups stay.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Groups {
    /// Nothing of a failed restore stays; its tasks have ended.
    fn drop(&mut self) {
        for (name, path) in self.made.iter().rev() {
            if let Some(hierarchy) = self.hierarchies.get(name) {
                let below = Hierarchy::below(path);
                let _ = unlinkat(hierarchy.top(), below, AtFlags::REMOVEDIR);
            }
        }
    }
}

impl Place {
    fn of(member: &CgMemberEntry) -> Self {
        let above = member.cgns_prefix;
        Self {
            name: text(&member.name),
            path: text(&member.path),
            above: above.and_then(|above| usize::try_from(above).ok()),
        }
    }
}

/// The set of a thread.
fn set_id(core: &CoreEntry) -> Option<u32> {
    let of_thread = core.thread_core.as_ref().and_then(|thread| thread.cg_set);
    of_thread.or_else(|| core.tc.as_ref().and_then(|whole| whole.cg_set))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a group, and those above it; tells of each that was not there.
fn make(hierarchy: &Hierarchy, path: &str, mut made: impl FnMut(&str)) -> Result<(), Error> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .filter(|at| *at > 0);
    for part in ends.chain([path.len()]).filter_map(|end| path.get(..end)) {
        let mode = Mode::from_raw_mode(0o755);
        match mkdirat(hierarchy.top(), Hierarchy::below(part), mode) {
            Ok(()) => made(part),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(hierarchy.failed("make", part, errno)),
        }
    }
    Ok(())
}

/// What can only be set as long as nobody is in a group, or below it.
const EARLY: [&str; 7] = [
    "cgroup.type",
    "cpuset.cpus",
    "cpuset.mems",
    "devices.list",
    "memory.oom_control",
    "memory.swappiness",
    "memory.use_hierarchy",
];

/// Sets what is otherwise now.
fn set(hierarchy: &Hierarchy, group: &str, property: &CgroupPropEntry) -> Result<(), Error> {
    let (name, wanted) = (text(&property.name), text(&property.value));
    let (name, wanted) = (name.as_str(), wanted.trim());
    let path = format!("{group}/{name}");
    let failed = |errno| hierarchy.failed("set up", &path, errno);
    if name == "freezer.state" || hierarchy.open_at(&path, OFlags::PATH).is_err() {
        return Ok(()); // it runs from now on; another kernel's
    }
    permit(hierarchy, &path, property.perms.as_ref()).map_err(failed)?;
    if WHO.contains(&name) || value(hierarchy, group, name).is_ok_and(|now| now.trim() == wanted) {
        return Ok(());
    }
    let write = |file: &str, text: &str| hierarchy.write(&format!("{group}/{file}"), text);
    let written = match name {
        "cgroup.type" if wanted != "threaded" => Ok(()),
        "cgroup.subtree_control" => {
            let more = wanted.split_whitespace().map(|it| format!("+{it}"));
            write(name, &more.collect::<Vec<_>>().join(" "))
        }
        "devices.list" => write("devices.deny", "a").and_then(|()| {
            let mut lines = wanted.lines();
            lines.try_for_each(|line| write("devices.allow", line))
        }),
        // Another host has other devices.
        "net_prio.ifpriomap" => {
            for line in wanted.lines() {
                let _ = write(name, line);
            }
            Ok(())
        }
        _ => write(name, wanted),
    };
    written.map_err(failed)
}

fn permit(
    hierarchy: &Hierarchy,
    path: &str,
    wanted: Option<&CgroupPerms>,
) -> rustix::io::Result<()> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let below = Hierarchy::below(path);
    let (user, group) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    let flags = AtFlags::empty();
    chownat(hierarchy.top(), below, Some(user), Some(group), flags)?;
    let mode = Mode::from_raw_mode(wanted.mode & 0o7777);
    chmodat(hierarchy.top(), below, mode, flags)
}
