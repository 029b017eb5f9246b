//! The process tree, and the images that each process must have.

use super::files::Set;
use super::report::{Report, Weight};
use crate::kind::{Kind, VERSION_1_1};
use crate::proto::{CoreEntry, PstreeEntry, TaskKobjIdsEntry};
use std::collections::BTreeSet;

/// `task_state` of a process that has ended and was not waited for yet.
const TASK_DEAD: u32 = 2;
/// The same for one that its restorer lets die.
const TASK_ZOMBIE: u32 = 6;

pub(super) fn check(set: &Set, report: &mut Report) {
    check_inventory(set, report);
    check_tree(set, report);
    report.processes = set.pstree.len() as u64;
    for task in &set.pstree {
        check_task(set, task, report);
    }
    check_strays(set, report);
}

fn check_inventory(set: &Set, report: &mut Report) {
    let name = Kind::Inventory.file_name(0);
    match &set.inventory {
        Some(inventory) if inventory.img_version <= VERSION_1_1 => {}
        Some(inventory) => {
            let text = format!(
                "version {} of the format is not known",
                inventory.img_version
            );
            report.add(Weight::Broken, name, text);
        }
        None if set.has(Kind::Inventory, 0) => {} // broken, and said so
        None => report.add(
            Weight::Missing,
            name,
            "it is written last: the set was never finished",
        ),
    }
}

fn check_tree(set: &Set, report: &mut Report) {
    let name = Kind::Pstree.file_name(0);
    if set.pstree.is_empty() {
        if set.has(Kind::Pstree, 0) {
            report.add(Weight::Broken, name, "it holds no process");
        } else {
            report.add(
                Weight::Missing,
                name,
                "without it nobody knows which processes there are",
            );
        }
        return;
    }
    let mut ids = BTreeSet::new();
    for task in &set.pstree {
        if !task.threads.contains(&task.pid) {
            let text = format!("{} is none of its own threads", task.pid);
            report.add(Weight::Contradiction, &name, text);
        }
        for thread in &task.threads {
            if !ids.insert(*thread) {
                let text = format!("{thread} is there twice");
                report.add(Weight::Contradiction, &name, text);
            }
        }
    }
    let pids: BTreeSet<u32> = set.pstree.iter().map(|task| task.pid).collect();
    let orphans = set
        .pstree
        .iter()
        .filter(|task| task.ppid != 0 && !pids.contains(&task.ppid));
    for task in orphans {
        let text = format!("{}, the parent of {}, is not there", task.ppid, task.pid);
        report.add(Weight::Missing, &name, text);
    }
    if !set.pstree.iter().any(|task| task.ppid == 0) {
        report.add(
            Weight::Contradiction,
            &name,
            "no process is the root of the tree",
        );
    }
}

fn check_task(set: &Set, task: &PstreeEntry, report: &mut Report) {
    let pid = u64::from(task.pid);
    for thread in &task.threads {
        need(set, Kind::Core, (*thread).into(), task.pid, report);
    }
    let Some(core) = set.core.get(&pid) else {
        return;
    };
    let name = Kind::Core.file_name(pid);
    let Some(own) = &core.tc else {
        report.add(
            Weight::Missing,
            name,
            "it has nothing of the process itself (tc)",
        );
        return;
    };
    if matches!(own.task_state, TASK_DEAD | TASK_ZOMBIE) {
        return; // nothing is left of it but its exit code
    }
    check_registers(set, task, report);
    for kind in [Kind::Mm, Kind::Pagemap, Kind::Fs] {
        need(set, kind, pid, task.pid, report);
    }
    match ids(set, core, pid) {
        None => need(set, Kind::Ids, pid, task.pid, report),
        Some(ids) => need(set, Kind::Fdinfo, ids.files_id.into(), task.pid, report),
    }
}

/// Newer sets have the ids in a file of their own, older ones in `core`.
fn ids<'a>(set: &'a Set, core: &'a CoreEntry, pid: u64) -> Option<&'a TaskKobjIdsEntry> {
    set.ids.get(&pid).or(core.ids.as_ref())
}

fn check_registers(set: &Set, task: &PstreeEntry, report: &mut Report) {
    for thread in &task.threads {
        let Some(core) = set.core.get(&u64::from(*thread)) else {
            continue;
        };
        let x86_64 = crate::proto::core_entry::March::X8664;
        if core.mtype() == x86_64 && core.thread_info.is_none() {
            let name = Kind::Core.file_name((*thread).into());
            report.add(Weight::Missing, name, "it has no registers (thread_info)");
        }
    }
}

fn need(set: &Set, kind: Kind, id: u64, pid: u32, report: &mut Report) {
    if !set.has(kind, id) {
        let text = format!("process {pid} needs it");
        report.add(Weight::Missing, kind.file_name(id), text);
    }
}

/// Images of processes that are in no tree.
fn check_strays(set: &Set, report: &mut Report) {
    let threads: BTreeSet<u64> = set
        .pstree
        .iter()
        .flat_map(|task| task.threads.iter().map(|thread| u64::from(*thread)))
        .collect();
    if threads.is_empty() {
        return;
    }
    for (kind, id) in set.sizes.keys() {
        let of_a_task = matches!(
            kind,
            Kind::Core | Kind::Mm | Kind::Fs | Kind::Ids | Kind::Pagemap
        );
        if of_a_task && !threads.contains(id) {
            let text = format!("there is no process or thread {id} in the tree");
            report.add(Weight::Note, kind.file_name(*id), text);
        }
    }
}
