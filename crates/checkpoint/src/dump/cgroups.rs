//! Control groups: which tasks are in which, and how the groups that are not ours are set up, with all that is below them.
//!
//! Where all of the tree is in our own groups nothing is kept. Of a hierarchy that nobody in the tree is elsewhere in than
//! we are, only the path is.

use crate::cgroup::{Hierarchy, Member, members, properties, value};
use crate::error::Error;
use plimsoll_image::proto::{
    CgControllerEntry, CgMemberEntry, CgSetEntry, CgroupDirEntry, CgroupEntry, CgroupPerms,
    CgroupPropEntry,
};
use rustix::fd::AsFd;
use rustix::fs::{Dir, FileType, OFlags, Stat, fstat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// The number of our own set.
pub(crate) const OURS: u32 = 1;

/// Sets of groups, as they are found.
#[derive(Debug)]
pub(super) struct Groups {
    /// Ours is the first; their numbers are their places, from 1 on.
    sets: Vec<Vec<Member>>,
    /// How much of a path is above the root of the tree's cgroup namespace.
    above: BTreeMap<String, u32>,
}

impl Groups {
    /// Of a tree whose root is `pid`.
    pub(super) fn new(pid: u32) -> Result<Self, Error> {
        Ok(Self {
            sets: vec![members("thread-self")?],
            above: above(pid)?,
        })
    }

    /// The number of a thread's set.
    pub(super) fn of(&mut self, pid: u32, tid: u32) -> Result<u32, Error> {
        let set = members(&format!("{pid}/task/{tid}"))?;
        let place = self.sets.iter().position(|known| *known == set);
        let place = place.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        Ok(u32::try_from(place).unwrap_or(u32::MAX - 1) + OURS)
    }

    /// All of them; none where all of the tree is in ours.
    pub(super) fn finish(
        self,
        roots: &BTreeMap<String, String>,
    ) -> Result<Option<CgroupEntry>, Error> {
        let Some((ours, others)) = self.sets.split_first() else {
            return Ok(None);
        };
        if others.is_empty() && self.above.is_empty() {
            return Ok(None);
        }
        let names: BTreeSet<&str> = self
            .sets
            .iter()
            .flatten()
            .map(|it| it.name.as_str())
            .collect();
        let controllers = names.iter().map(|name| {
            let elsewhere = others
                .iter()
                .flatten()
                .filter(|it| it.name == *name && !ours.contains(it));
            let paths: BTreeSet<&str> = elsewhere.map(|it| it.path.as_str()).collect();
            let root = roots.get(*name).map(String::as_str);
            controller(name, root.map_or(paths, |root| BTreeSet::from([root])))
        });
        let controllers = controllers.collect::<Result<_, _>>()?;
        let sets = self
            .sets
            .iter()
            .zip(OURS..)
            .map(|(members, id)| CgSetEntry {
                id,
                ctls: members.iter().map(|it| self.member(it)).collect(),
            });
        Ok(Some(CgroupEntry {
            sets: sets.collect(),
            controllers,
        }))
    }

    fn member(&self, member: &Member) -> CgMemberEntry {
        CgMemberEntry {
            name: member.name.clone().into(),
            path: member.path.clone().into(),
            cgns_prefix: self.above.get(&member.name).copied(),
        }
    }
}

/// How long the paths of a process's cgroup namespace are in ours, where that is another. It is entered by a thread that
/// asks and ends.
fn above(pid: u32) -> Result<BTreeMap<String, u32>, Error> {
    let name = |who: &str| format!("/proc/{who}/ns/cgroup");
    let link = |who: &str| std::fs::read_link(name(who)).ok();
    let who = pid.to_string();
    if link(&who) == link("self") {
        return Ok(BTreeMap::new());
    }
    let outside = members(&who)?;
    let path = name(&who);
    let namespace = File::open(&path).map_err(|source| Error::file("open", &path, source))?;
    let ask = || {
        let entered =
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup));
        entered.map_err(|errno| Error::file("enter", &path, errno))?;
        members(&who)
    };
    let inside = std::thread::scope(|scope| scope.spawn(ask).join());
    let inside = inside
        .map_err(|_| Error::inconsistent("a thread that asks for control groups has failed"))??;
    let above = outside.iter().filter_map(|outside| {
        let inside = inside.iter().find(|it| it.name == outside.name)?;
        let rest = inside.path.trim_end_matches('/');
        let above = outside.path.strip_suffix(rest)?.trim_end_matches('/');
        Some((
            outside.name.clone(),
            u32::try_from(above.len())
                .ok()
                .filter(|length| *length > 0)?,
        ))
    });
    Ok(above.collect())
}

/// A hierarchy, with these groups and all below them.
fn controller(name: &str, paths: BTreeSet<&str>) -> Result<CgControllerEntry, Error> {
    let mut dirs: Vec<CgroupDirEntry> = Vec::new();
    let mut heads: Vec<&str> = Vec::new();
    if !paths.is_empty() {
        let hierarchy = Hierarchy::open(name)?;
        for path in paths {
            let is_known = heads.iter().any(|head| {
                let rest = path.strip_prefix(head);
                rest.is_some_and(|rest| rest.starts_with('/') || *head == "/")
            });
            if is_known {
                continue;
            }
            heads.push(path);
            dirs.extend(directory(
                &hierarchy,
                name,
                path,
                path.trim_start_matches('/'),
            )?);
        }
    }
    Ok(CgControllerEntry {
        cnames: name.split(',').map(Into::into).collect(),
        dirs,
        is_threaded: Some(!name.is_empty()),
    })
}

/// A group and those below it; `None` where it is gone. Of the topmost group only that it is there.
fn directory(
    hierarchy: &Hierarchy,
    name: &str,
    path: &str,
    called: &str,
) -> Result<Option<CgroupDirEntry>, Error> {
    let failed = |errno| hierarchy.failed("look into", path, errno);
    let Ok(opened) = hierarchy.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Ok(None);
    };
    let mut entry = CgroupDirEntry {
        dir_name: called.into(),
        dir_perms: Some(permissions(&fstat(&opened).map_err(failed)?)),
        ..CgroupDirEntry::default()
    };
    if path == "/" {
        return Ok(Some(entry));
    }
    for file in properties(name) {
        let of_file = format!("{path}/{file}");
        let Ok(opened) = hierarchy.open_at(&of_file, OFlags::PATH) else {
            continue; // another kernel's
        };
        let stat = fstat(&opened).map_err(failed)?;
        // What can't be read was never set.
        let Ok(value) = value(hierarchy, path, file) else {
            continue;
        };
        entry.properties.push(CgroupPropEntry {
            name: file.into(),
            value: value.into(),
            perms: Some(permissions(&stat)),
        });
    }
    let mut below: Vec<String> = Vec::new();
    for child in Dir::new(opened).map_err(failed)? {
        let child = child.map_err(failed)?;
        let called = child.file_name().to_string_lossy();
        if child.file_type() == FileType::Directory && !matches!(called.as_ref(), "." | "..") {
            below.push(called.into_owned());
        }
    }
    below.sort();
    for called in below {
        let of_child = format!("{path}/{called}");
        let child = directory(hierarchy, name, &of_child, &called)?;
        entry.children.extend(child);
    }
    Ok(Some(entry))
}

fn permissions(stat: &Stat) -> CgroupPerms {
    CgroupPerms {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}
