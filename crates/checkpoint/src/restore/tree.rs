//! Who is whose child: processes with their old pids, sessions, groups, zombies.
//!
//! Each child is made by its parent. A session is only inherited or begun, so children of the session that a process had
//! before it began its own are made before it does that. Groups come when all are there.

use super::crew::Crew;
use crate::error::Error;
use crate::snapshot::{DEAD, Process, Snapshot};

/// Makes every process below the root.
pub(super) fn grow(crew: &mut Crew, snapshot: &Snapshot) -> Result<(), Error> {
    let Some(top) = snapshot.processes.first() else {
        return Ok(());
    };
    branch(crew, snapshot, top)?;
    groups(crew, snapshot)?;
    zombies(crew, snapshot)
}

fn branch(crew: &mut Crew, snapshot: &Snapshot, process: &Process) -> Result<(), Error> {
    let (pid, sid) = (process.pid(), process.node.sid);
    let begins_session = sid == pid;
    let children = || {
        snapshot
            .processes
            .iter()
            .filter(|child| child.node.ppid == pid && child.pid() != pid)
    };
    let within = |child: &Process| child.node.sid == pid || child.node.sid == child.pid();
    if begins_session {
        for child in children().filter(|child| !within(child)) {
            make(crew, pid, child)?;
        }
        crew.member(pid)?
            .leader
            .call::<0>("begin a session in", libc::SYS_setsid, [])?;
        for child in children().filter(|child| within(child)) {
            make(crew, pid, child)?;
        }
    } else {
        for child in children() {
            make(crew, pid, child)?;
        }
    }
    for child in children() {
        branch(crew, snapshot, child)?;
    }
    Ok(())
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
