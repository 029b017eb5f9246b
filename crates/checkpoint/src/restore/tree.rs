//! Who is whose child: processes with their old pids, sessions, groups, zombies.
//!
//! Each child is made by its parent, once that has its memory, which the child is born with. A session is only inherited or begun, so children of the session that a process had
//! before it began its own are made before it does that. Groups come when all are there.

use super::crew::{Crew, Member};
use crate::error::Error;
use crate::snapshot::{DEAD, Process, Snapshot};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};

/// What a process is ready for, that is not made here.
pub(super) enum Ready<'p> {
    /// Its memory, before it has children; its parent has its own.
    ForMemory(Option<&'p Process>),
    /// A terminal: it has just begun its session.
    ForTerminal,
}

/// Makes every process below the root: parents before their children, however deep the tree is. `furnish` gives a process
/// what it is ready for.
pub(super) fn grow(
    crew: &mut Crew,
    snapshot: &Snapshot,
    mut furnish: impl FnMut(&mut Member, &Process, Ready<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let by_pid: BTreeMap<u32, &Process> = snapshot
        .processes
        .iter()
        .map(|process| (process.pid(), process))
        .collect();
    let mut parents: VecDeque<&Process> = snapshot.processes.first().into_iter().collect();
    while let Some(parent) = parents.pop_front() {
        let grandparent = by_pid.get(&parent.node.ppid).copied();
        let member = crew.member(parent.pid())?;
        furnish(member, parent, Ready::ForMemory(grandparent))?;
        let children: Vec<&Process> = children(snapshot, parent).collect();
        make_children(crew, parent, &children, &mut furnish)?;
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

fn make_children(
    crew: &mut Crew,
    parent: &Process,
    children: &[&Process],
    furnish: &mut impl FnMut(&mut Member, &Process, Ready<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let pid = parent.pid();
    if parent.node.sid != pid {
        return make_all(crew, parent, children);
    }
    let is_within = |child: &Process| child.node.sid == pid || child.node.sid == child.pid();
    let (within, before): (Vec<&Process>, Vec<&Process>) =
        children.iter().partition(|child| is_within(child));
    make_all(crew, parent, &before)?;
    let member = crew.member(pid)?;
    member
        .leader
        .call::<0>("begin a session in", libc::SYS_setsid, [])?;
    furnish(member, parent, Ready::ForTerminal)?; // children inherit it
    make_all(crew, parent, &within)
}

fn make_all(crew: &mut Crew, parent: &Process, children: &[&Process]) -> Result<(), Error> {
    children
        .iter()
        .try_for_each(|child| make(crew, parent, child))
}

fn make(crew: &mut Crew, parent: &Process, child: &Process) -> Result<(), Error> {
    let shares = |of: fn(&Process) -> u32, flag: i32| {
        let same = child.mm.is_some() && of(child) == of(parent);
        if same {
            u64::from(flag.unsigned_abs())
        } else {
            0
        }
    };
    let flags = shares(|process| process.ids.files_id, libc::CLONE_FILES)
        | shares(|process| process.ids.fs_id, libc::CLONE_FS);
    let member = crew.member(parent.pid())?;
    let socket = member.socket;
    let task = member.leader.clone_with(flags, child.pid())?;
    crew.join(child.pid(), task, socket);
    Ok(())
}

/// Leaders of groups first.
fn groups(crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    let leads = |process: &&Process| process.node.pgid == process.pid();
    for leader in snapshot.processes.iter().filter(leads) {
        if leader.node.sid != leader.pid() {
            join_group(crew, leader)?.map_err(|errno| no_group(leader, errno))?;
        }
    }
    let Some(top) = snapshot.processes.first() else {
        return Ok(());
    };
    let mut stand_ins = BTreeMap::new();
    for process in snapshot.processes.iter().filter(|process| !leads(process)) {
        let group = process.node.pgid;
        if group == top.node.pgid && !leads(&top) {
            continue; // outside of the tree, and inherited
        }
        match join_group(crew, process)? {
            Err(Errno::PERM) if !stand_ins.contains_key(&group) => {
                stand_ins.insert(group, stand_in(crew, snapshot, process)?);
                join_group(crew, process)?.map_err(|errno| no_group(process, errno))?;
            }
            joined => joined.map_err(|errno| no_group(process, errno))?,
        }
    }
    for (group, parent) in stand_ins {
        crew.dismiss(group, parent)?;
    }
    Ok(())
}

fn join_group(crew: &mut Crew, process: &Process) -> Result<Result<(), Errno>, Error> {
    let task = &mut crew.member(process.pid())?.leader;
    let args = [0, process.node.pgid.into()];
    let joined = task.try_call("join a process group in", libc::SYS_setpgid, args)?;
    Ok(joined.map(drop))
}

fn no_group(process: &Process, errno: Errno) -> Error {
    let (pid, group) = (process.pid(), process.node.pgid);
    Error::inconsistent(format!("process {pid} can't join group {group}: {errno}"))
}

/// A group outlives its leader: a process of the same session stands in for the leader until all have joined. Gives the pid
/// of its parent.
fn stand_in(crew: &mut Crew, snapshot: &Snapshot, process: &Process) -> Result<u32, Error> {
    let group = process.node.pgid;
    let same_session = |other: &&Process| other.node.sid == process.node.sid;
    let parent = snapshot
        .processes
        .iter()
        .find(same_session)
        .map_or(process.pid(), Process::pid);
    let member = crew.member(parent)?;
    let socket = member.socket;
    let mut task = member.leader.clone_with(0, group)?;
    task.call("begin a process group in", libc::SYS_setpgid, [0, 0])?;
    crew.join(group, task, socket);
    Ok(parent)
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
