//! Who belongs to the tree, zombies included, and what its processes share.

use crate::coverage::SHARED;
use crate::error::Error;
use crate::ipc;
use crate::namespace;
use plimsoll_image::proto::{PstreeEntry, TaskKobjIdsEntry};
use plimsoll_proc::Root;
use plimsoll_proc::process::stat::Stat;
use plimsoll_proc::text::{number, words};
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::threads;
use plimsoll_sys::kcmp::{self, Shared};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A process of the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) pid: u32,
    pub(super) entry: PstreeEntry,
    /// Where it stands in the stopped tree; `None` for a zombie.
    pub(super) place: Option<usize>,
}

/// All processes below `top`, parents before their children.
pub(super) fn nodes(root: &Root, top: u32, stopped: &StoppedTree) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::new();
    let mut waiting = vec![top];
    while let Some(pid) = waiting.pop() {
        let Ok(stat) = Stat::parse(&root.read(format!("proc/{pid}/stat"))?) else {
            return Err(Error::NoProcess(pid));
        };
        let place = stopped
            .processes
            .iter()
            .position(|process| process.name.pid == pid);
        let tids: Vec<u32> = match place.and_then(|place| stopped.processes.get(place)) {
            Some(process) => process
                .threads
                .iter()
                .map(|t| t.tid().as_raw_pid().unsigned_abs())
                .collect(),
            None => vec![pid],
        };
        let mut children = children(root, pid)?;
        children.sort_unstable();
        waiting.extend(children.into_iter().rev());
        nodes.push(Node {
            pid,
            entry: PstreeEntry {
                pid,
                ppid: if pid == top { 0 } else { stat.ppid },
                pgid: stat.pgrp,
                sid: stat.session,
                threads: tids,
            },
            place,
        });
    }
    Ok(nodes)
}

fn children(root: &Root, pid: u32) -> Result<Vec<u32>, Error> {
    let mut children = Vec::new();
    for tid in threads(root, pid)? {
        match root.read(format!("proc/{pid}/task/{}/children", tid.as_raw_pid())) {
            Ok(text) => {
                let pid = |word| number(word).and_then(|pid| u32::try_from(pid).ok());
                children.extend(words(&text).filter_map(pid));
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(children)
}

/// Kernel objects that processes may share, each with a small number of its own.
#[derive(Debug)]
pub(super) struct Objects {
    ids: BTreeMap<u32, [u32; 4]>,
}

/// In the order of the fields of `task_kobj_ids_entry`.
const KINDS: [Shared; 4] = [
    Shared::Memory,
    Shared::Descriptors,
    Shared::Fs,
    Shared::Handlers,
];

impl Objects {
    /// Compares all living processes by `kcmp(2)`.
    pub(super) fn of(nodes: &[Node]) -> Result<Self, Error> {
        let mut ids: BTreeMap<u32, [u32; 4]> = BTreeMap::new();
        let living: Vec<u32> = nodes
            .iter()
            .filter(|node| node.place.is_some())
            .map(|node| node.pid)
            .collect();
        for (kind, what) in KINDS.into_iter().enumerate() {
            // One process for each object found so far, in the kernel's order of objects.
            let mut found: Vec<(u32, u32)> = Vec::new();
            for pid in &living {
                let at = search(&found, what, *pid)?;
                let id = match at {
                    Ok(at) => found.get(at).map_or(0, |(_, id)| *id),
                    Err(at) => {
                        // CRIU begins with 2, too: 1 is the dumper's.
                        let id = u32::try_from(found.len()).unwrap_or(u32::MAX - 2) + 2;
                        found.insert(at, (*pid, id));
                        id
                    }
                };
                if let Some(slot) = ids.entry(*pid).or_default().get_mut(kind) {
                    *slot = id;
                }
            }
        }
        Ok(Self { ids })
    }

    /// Processes that share memory or handlers can't be made again yet, nor such as share something with others that their
    /// parents don't.
    pub(super) fn refuse_shared(&self, nodes: &[Node]) -> Result<(), Error> {
        const NAMES: [&str; 4] = [
            "its memory",
            "its descriptor table",
            "its working directory",
            "its signal handlers",
        ];
        let mut obstacles = Vec::new();
        for (kind, (what, name)) in KINDS.into_iter().zip(NAMES).enumerate() {
            let inherits = matches!(what, Shared::Descriptors | Shared::Fs);
            let holder = |node: &Node| {
                let parent = if inherits { node.entry.ppid } else { 0 };
                let ids = self.ids.get(&node.pid)?;
                Some((node.pid, parent, *ids.get(kind)?))
            };
            let holders: Vec<_> = nodes.iter().filter_map(holder).collect();
            for pid in crate::sharing::strangers(&holders) {
                obstacles.push(SHARED.of(pid, &[&name]));
            }
        }
        if obstacles.is_empty() {
            Ok(())
        } else {
            Err(Error::Refused(obstacles))
        }
    }

    /// The numbers of one process; namespaces are those that the whole tree has in common, all of them ours, but perhaps
    /// for that of IPC.
    pub(super) fn ids(&self, pid: u32, has_own_ipc: bool) -> TaskKobjIdsEntry {
        let [vm_id, files_id, fs_id, sighand_id] = self.ids.get(&pid).copied().unwrap_or_default();
        let [
            pid_ns,
            net_ns,
            ipc_ns,
            uts_ns,
            time_ns,
            mnt_ns,
            user_ns,
            cgroup_ns,
        ] = namespace::ALL.map(|kind| Some(kind.id));
        TaskKobjIdsEntry {
            vm_id,
            files_id,
            fs_id,
            sighand_id,
            pid_ns_id: pid_ns,
            net_ns_id: net_ns,
            ipc_ns_id: if has_own_ipc { Some(ipc::OWN) } else { ipc_ns },
            uts_ns_id: uts_ns,
            time_ns_id: time_ns,
            mnt_ns_id: mnt_ns,
            user_ns_id: user_ns,
            cgroup_ns_id: cgroup_ns,
        }
    }
}

fn search(found: &[(u32, u32)], what: Shared, pid: u32) -> Result<Result<usize, usize>, Error> {
    let mut failed = None;
    let at = found.binary_search_by(|(other, _)| {
        kcmp::compare(what, *other, pid).unwrap_or_else(|errno| {
            failed = Some(errno);
            Ordering::Less
        })
    });
    match failed {
        Some(errno) => Err(Error::file("compare", format!("/proc/{pid}"), errno)),
        None => Ok(at),
    }
}
