//! What can be known from the images alone: whether this host and this Plimsoll can make the tree.

use crate::error::Error;
use crate::obstacle::Obstacle;
use crate::registers;
use crate::sharing::strangers;
use crate::snapshot::{DEAD, Process, Snapshot};
use crate::vma::{Status, status};
use plimsoll_image::proto::{FdTypes, TaskKobjIdsEntry};
use plimsoll_proc::process::stat::Stat;
use rustix::process::{Pid, test_kill_process_group};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Kinds of open files that can be made.
const MADE: &[FdTypes] = &[
    FdTypes::Reg,
    FdTypes::Pipe,
    FdTypes::Fifo,
    FdTypes::Memfd,
    FdTypes::Eventfd,
    FdTypes::Eventpoll,
    FdTypes::Timerfd,
    FdTypes::Signalfd,
    FdTypes::Pidfd,
    FdTypes::Ns,
    FdTypes::Unixsk,
    FdTypes::Tty,
    FdTypes::Inetsk,
    FdTypes::Inotify,
    FdTypes::Fanotify,
    FdTypes::Netlinksk,
    FdTypes::Packetsk,
];

/// What children may share with their parents, by its number in the images.
type Shared = (&'static str, fn(&Process) -> u32);
const SHARED: [Shared; 2] = [
    ("its descriptor table", |process| process.ids.files_id),
    ("its working directory", |process| process.ids.fs_id),
];

/// A kind of namespace, by its number in the images.
type Namespace = (&'static str, fn(&TaskKobjIdsEntry) -> Option<u32>);

/// Of these a tree gets ours. That of control groups is made with them.
const NAMESPACES: [Namespace; 6] = [
    ("pid", |ids| ids.pid_ns_id),
    ("network", |ids| ids.net_ns_id),
    ("UTS", |ids| ids.uts_ns_id),
    ("time", |ids| ids.time_ns_id),
    ("mount", |ids| ids.mnt_ns_id),
    ("user", |ids| ids.user_ns_id),
];
/// It may have one of its own, and only one.
const IPC: Namespace = ("IPC", |ids| ids.ipc_ns_id);

/// Everything that stands in the way; else the pid of the root.
pub(super) fn all(snapshot: &Snapshot) -> Result<u32, Error> {
    let Some(top) = snapshot.processes.first() else {
        return Err(Error::inconsistent("the set has no process"));
    };
    let mut obstacles = other_namespaces(snapshot);
    let pids: BTreeSet<u32> = snapshot.processes.iter().map(Process::pid).collect();
    for process in &snapshot.processes {
        of_process(process, &pids, (top.pid(), top.node.sid), &mut obstacles);
    }
    for (name, id) in SHARED {
        let living = snapshot
            .processes
            .iter()
            .filter(|process| process.mm.is_some());
        let holders: Vec<_> = living
            .map(|process| (process.pid(), process.node.ppid, id(process)))
            .collect();
        for pid in strangers(&holders) {
            let what = format!("it shares {name} with another process than its parent");
            obstacles.push(Obstacle::new(pid, what, "none yet"));
        }
    }
    for table in snapshot.tables.values() {
        for descriptor in table {
            let Some(file) = snapshot.files.get(&descriptor.id) else {
                let what = format!(
                    "descriptor {} leads to file {}, which is not there",
                    descriptor.fd, descriptor.id
                );
                return Err(Error::inconsistent(what));
            };
            if !MADE.contains(&file.r#type()) {
                let what = format!(
                    "descriptor {} is {}",
                    descriptor.fd,
                    file.r#type().as_str_name()
                );
                obstacles.push(Obstacle {
                    pid: None,
                    what,
                    remedy: WITH_CRIU.into(),
                    is_privilege: false,
                });
            }
        }
    }
    if obstacles.is_empty() {
        return Ok(top.pid());
    }
    Err(Error::Refused(obstacles))
}

/// Who had other namespaces than who made the images, or of IPC than the root of the tree. Sets of CRIU's tell; ours have none.
fn other_namespaces(snapshot: &Snapshot) -> Vec<Obstacle> {
    let outside = snapshot.inventory.root_ids.as_ref();
    let top = snapshot.processes.first().map(|top| &top.ids);
    let ours = NAMESPACES.into_iter().map(|kind| (kind, outside));
    let wanted = ours.chain([(IPC, top)]);
    let mut obstacles = Vec::new();
    for ((name, id), wanted) in wanted {
        let wanted = wanted.and_then(id);
        let mut living = snapshot.processes.iter().filter(|it| it.mm.is_some());
        let differs = |it: &&Process| id(&it.ids).is_some_and(|own| wanted != Some(own));
        if let Some(process) = living.find(differs).filter(|_| wanted.is_some()) {
            let what = format!("it has another {name} namespace than this command could give it");
            obstacles.push(Obstacle::new(process.pid(), what, WITH_CRIU));
        }
    }
    obstacles
}

const WITH_CRIU: &str = "none yet: restore it with CRIU";

fn of_process(
    process: &Process,
    pids: &BTreeSet<u32>,
    (top, top_sid): (u32, u32),
    obstacles: &mut Vec<Obstacle>,
) {
    let pid = process.pid();
    let mut refuse = |what: String, remedy: &str| obstacles.push(Obstacle::new(pid, what, remedy));
    for tid in process.threads.iter().map(|(tid, _)| tid) {
        if is_taken(*tid) {
            refuse(
                format!("its id {tid} is taken"),
                "end the process that has it, or wait for its parent to reap it",
            );
        }
    }
    if process.state() == DEAD {
        return;
    }
    let inside = |id: u32| id == 0 || pids.contains(&id);
    if pid != top && !inside(process.node.sid) && process.node.sid != top_sid {
        refuse("its session's leader has ended".into(), "none yet");
    }
    for (tid, core) in &process.threads {
        let known = core
            .thread_info
            .as_ref()
            .is_some_and(|info| registers::vector_fits(&info.fpregs));
        if !known {
            refuse(
                format!("thread {tid} uses vector registers that this processor has not"),
                "restore it on a processor that has them",
            );
        }
    }
    for vma in process.mm.iter().flat_map(|mm| &mm.vmas) {
        if status(vma).contains(Status::SHADOW_STACK) {
            refuse(
                format!("the mapping at {:#x} can't be made", vma.start),
                WITH_CRIU,
            );
        }
    }
}

/// Whether an id is in use, by a task or as a group's. What has ended is waited for a little: whoever inherited it will reap
/// it, and its group ends with the last of its processes.
fn is_taken(tid: u32) -> bool {
    const PATIENCE: Duration = Duration::from_secs(10);
    let begun = Instant::now();
    let pid = i32::try_from(tid).ok().and_then(Pid::from_raw);
    let has_group = || pid.is_some_and(|pid| test_kill_process_group(pid).is_ok());
    loop {
        let runs = match std::fs::read(format!("/proc/{tid}/stat")) {
            Ok(stat) => Stat::parse(&stat).is_ok_and(|stat| !matches!(stat.state, b'Z' | b'X')),
            Err(_) if has_group() => false,
            Err(_) => return false,
        };
        if runs || begun.elapsed() > PATIENCE {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::other_namespaces;
    use crate::snapshot::{Process, Snapshot};
    use plimsoll_image::proto::{InventoryEntry, MmEntry, TaskKobjIdsEntry};

    #[test]
    fn namespaces_that_can_not_be_given_are_refused() {
        let ids = |net: u32, ipc: u32| TaskKobjIdsEntry {
            net_ns_id: Some(net),
            ipc_ns_id: Some(ipc),
            ..TaskKobjIdsEntry::default()
        };
        let process = |ids| Process {
            ids,
            mm: Some(MmEntry::default()),
            ..Process::default()
        };
        let refused = |of: [TaskKobjIdsEntry; 2]| {
            let snapshot = Snapshot {
                inventory: InventoryEntry {
                    root_ids: Some(ids(2, 3)),
                    ..InventoryEntry::default()
                },
                processes: of.map(process).into(),
                ..Snapshot::default()
            };
            let obstacles = other_namespaces(&snapshot).into_iter();
            let kinds = obstacles.map(|it| it.what.split(' ').nth(3).map(str::to_owned));
            kinds.flatten().collect::<Vec<_>>()
        };
        assert!(refused([ids(2, 3), ids(2, 3)]).is_empty());
        assert!(refused([ids(2, 9), ids(2, 9)]).is_empty(), "made anew");
        assert_eq!(refused([ids(9, 9), ids(9, 9)]), ["network"]);
        assert_eq!(refused([ids(2, 3), ids(9, 9)]), ["network", "IPC"]);
    }
}
