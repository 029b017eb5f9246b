//! Who is whose child: processes with their old pids, sessions, groups, zombies.
//!
//! Each child is made by its parent, once that has its memory, which the child is born with. A session is only inherited or begun, so children of the session that a process had
//! before it began its own are made before it does that. Groups come when all are there.

use super::crew::{Crew, Member};
use crate::error::Error;
use crate::snapshot::{DEAD, Process, Snapshot};
use std::collections::{BTreeMap, VecDeque};

/// Makes every process below the root: parents before their children, however deep the tree is. `fill` gives a process
/// (its parent comes with it) its memory.
pub(super) fn grow(
    crew: &mut Crew,
    snapshot: &Snapshot,
    mut fill: impl FnMut(&mut Member, &Process, Option<&Process>) -> Result<(), Error>,
) -> Result<(), Error> {
    let by_pid: BTreeMap<u32, &Process> = snapshot
        .processes
        .iter()
        .map(|process| (process.pid(), process))
        .collect();
    let mut parents: VecDeque<&Process> = snapshot.processes.first().into_iter().collect();
    while let Some(parent) = parents.pop_front() {
        let grandparent = by_pid.get(&parent.node.ppid).copied();
        fill(crew.member(parent.pid())?, parent, grandparent)?;
        let children: Vec<&Process> = children(snapshot, parent).collect();
        make_children(crew, parent, &children)?;
        parents.extend(children);
    }
    groups(crew, snapshot)?;
    zombies(crew, snapshot)
}

fn children<'s>(snapshot: &'s Snapshot, parent: &Process) -> impl Iterator<Item = &'s Process> {
    let pid = parent.pid();
    let is_child = move |child: &&Process| child.node.ppid == pid && child.pid() != pid;
    snapshot.processes.iter().filter(is_child)
}

fn make_children(crew: &mut Crew, parent: &Process, children: &[&Process]) -> Result<(), Error> {
    let pid = parent.pid();
    if parent.node.sid != pid {
        return make_all(crew, pid, children);
    }
    let is_within = |child: &Process| child.node.sid == pid || child.node.sid == child.pid();
    let (within, before): (Vec<&Process>, Vec<&Process>) =
        children.iter().partition(|child| is_within(child));
    make_all(crew, pid, &before)?;
    crew.member(pid)?
        .leader
        .call::<0>("begin a session in", libc::SYS_setsid, [])?;
    make_all(crew, pid, &within)
}

fn make_all(crew: &mut Crew, parent: u32, children: &[&Process]) -> Result<(), Error> {
    children
        .iter()
        .try_for_each(|child| make(crew, parent, child))
}

fn make(crew: &mut Crew, parent: u32, child: &Process) -> Result<(), Error> {
    let member = crew.member(parent)?;
    let socket = member.socket;
    let task = member.leader.clone_with(0, child.pid())?;
    crew.join(child.pid(), task, socket);
    Ok(())
}

/// Leaders of groups first.
fn groups(crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    let set = |crew: &mut Crew, process: &Process| -> Result<(), Error> {
        let group = u64::from(process.node.pgid);
        let what = "join a process group in";
        crew.member(process.pid())?
            .leader
            .call(what, libc::SYS_setpgid, [0, group])?;
        Ok(())
    };
    let leads = |process: &&Process| process.node.pgid == process.pid();
    let leaders: Vec<&Process> = snapshot.processes.iter().filter(leads).collect();
    for process in leaders
        .iter()
        .filter(|process| process.node.sid != process.pid())
    {
        set(crew, process)?;
    }
    for process in snapshot.processes.iter().filter(|process| !leads(process)) {
        // A group outside of the tree was inherited with its session.
        if leaders
            .iter()
            .any(|leader| leader.pid() == process.node.pgid)
        {
            set(crew, process)?;
        }
    }
    Ok(())
}

/// Who has ended ends again; their parents learn of it as they will wait for it, without a signal.
fn zombies(crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    for process in snapshot
        .processes
        .iter()
        .filter(|process| process.state() == DEAD)
    {
        let whole = process.whole();
        let member = crew.member(process.pid())?;
        let name = whole.map(|whole| whole.comm.clone()).unwrap_or_default();
        super::process::set_name(&mut member.leader, &name)?;
        member
            .leader
            .end(whole.map_or(0, |whole| whole.exit_code))?;
    }
    Ok(())
}
