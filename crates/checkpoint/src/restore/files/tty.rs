//! Terminals. Of a pseudoterminal the master is made first, with the number that it had, and both ends get their settings
//! from it. A session's terminal is given to its leader before that has children, who inherit it; `/dev/tty` is opened by
//! whom it was open for. What waited in a terminal comes last.

use super::super::crew::{Crew, Member};
use super::super::transport::Transport;
use super::{Files, itself, settle};
use crate::error::{Error, Step};
use crate::snapshot::Process;
use crate::tty::{self, Waiting};
use plimsoll_image::proto::{FdTypes, FileEntry, TtyFileEntry, TtyInfoEntry, TtyType};
use plimsoll_sys::terminal;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpgrp, pidfd_getfd, pidfd_open};
use rustix::termios::{Winsize, tcgetpgrp, tcsetpgrp, tcsetwinsize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Pseudoterminals that were made.
#[derive(Debug, Default)]
pub(super) struct Terminals {
    /// Their masters, by number.
    masters: BTreeMap<u32, OwnedFd>,
    /// Entries whose settings have been given.
    set: BTreeSet<u32>,
    /// Whether our own terminal stands for one that was not made.
    ours: bool,
}

/// An open terminal.
pub(super) fn file(files: &mut Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let tty = tty_of(entry)?;
    let info = info(files, tty)?;
    let made = match info.r#type() {
        TtyType::Pty if tty::is_master(info) => {
            let master = master(files, index(info))?;
            master
                .try_clone_to_owned()
                .map_err(|source| Error::file("duplicate the master of", path_of(info), source))?
        }
        TtyType::Pty if tty::is_hung_up(info) => return hung_up(tty, info),
        TtyType::Pty if has_master(files, info) => slave(files, tty, info)?,
        TtyType::Pty | TtyType::ExtTty => return ours(files, tty),
        TtyType::Ctty => {
            let what = format!("no process has file {} open, which is /dev/tty", tty.id);
            return Err(Error::inconsistent(what));
        }
        _ => by_path(files, tty)?,
    };
    if files.terminals.set.insert(info.id) && !tty::is_master(info) {
        set(&made, info)?;
    }
    settle(&made, tty.flags, &tty.fown)?;
    Ok(made)
}

/// The master of a pseudoterminal: made once, with its settings, and with its slave free to be opened until the end.
fn master<'f>(files: &'f mut Files<'_>, index: u32) -> Result<BorrowedFd<'f>, Error> {
    if !files.terminals.masters.contains_key(&index) {
        let number = index * 2 + 1;
        let entry = files.snapshot.files.values().find(|entry| {
            let tty = entry.tty.as_ref();
            tty.is_some_and(|tty| tty.tty_info_id == number)
        });
        let missing =
            || Error::inconsistent(format!("the master of terminal {index} is not there"));
        let tty = tty_of(entry.ok_or_else(missing)?)?;
        let info = info(files, tty)?;
        let path = path(files, tty)?;
        let made = new_master(&path, tty.flags, index)?;
        set(&made, info)?;
        if info.packet_mode {
            terminal::begin_packet_mode(&made)
                .map_err(|errno| Error::file("set the mode of", path_of(info), errno))?;
        }
        files.terminals.masters.insert(index, made);
    }
    let missing = || Error::inconsistent(format!("the master of terminal {index} is not there"));
    files
        .terminals
        .masters
        .get(&index)
        .map(AsFd::as_fd)
        .ok_or_else(missing)
}

/// The kernel gives the lowest number that is free, so those below are taken for a moment.
fn new_master(path: &std::path::Path, flags: u32, index: u32) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::file("make a pseudoterminal by", path, errno);
    let flags = OFlags::from_bits_retain(flags) | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut below = Vec::new();
    loop {
        let made = open(path, flags, Mode::empty()).map_err(failed)?;
        let got = terminal::index(&made).map_err(failed)?;
        if got == index {
            terminal::set_locked(&made, false).map_err(failed)?;
            return Ok(made);
        }
        if got > index {
            let taken = std::io::Error::from(Errno::BUSY);
            return Err(Error::file(
                "make again",
                format!("/dev/pts/{index}"),
                taken,
            ));
        }
        below.push(made);
    }
}

fn slave(files: &mut Files<'_>, tty: &TtyFileEntry, info: &TtyInfoEntry) -> Result<OwnedFd, Error> {
    master(files, index(info))?;
    by_path(files, tty)
}

/// A slave whose master is gone: made with one that goes at once. Its number means nothing any more.
fn hung_up(tty: &TtyFileEntry, info: &TtyInfoEntry) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::file("make again", path_of(info), errno);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let made = new_master("/dev/ptmx".as_ref(), flags.bits(), index(info));
    let master = match made {
        Ok(master) => master,
        Err(_) => {
            let master = open("/dev/ptmx", flags, Mode::empty()).map_err(failed)?;
            terminal::set_locked(&master, false).map_err(failed)?;
            master
        }
    };
    let path = format!("/dev/pts/{}", terminal::index(&master).map_err(failed)?);
    let flags = OFlags::from_bits_retain(tty.flags) | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = open(path, flags, Mode::empty()).map_err(failed)?;
    drop(master);
    Ok(slave)
}

/// A terminal that others showed becomes the one that we have ourselves (`--shell-job`).
fn ours(files: &mut Files<'_>, tty: &TtyFileEntry) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::file("open", "our own terminal, at standard input", errno);
    let stdin = std::io::stdin();
    terminal::settings(&stdin).map_err(failed)?;
    let flags = OFlags::from_bits_retain(tty.flags) | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(itself(&stdin), flags, Mode::empty()).map_err(failed)?;
    settle(&file, tty.flags, &tty.fown)?;
    files.terminals.ours = true;
    Ok(file)
}

/// In our own terminal the tree takes the place that we have: its keys reach it now.
fn take_our_place(files: &Files<'_>) -> Result<(), Error> {
    let stdin = std::io::stdin();
    let group = files
        .snapshot
        .processes
        .first()
        .map_or(0, |top| top.node.pgid);
    let group = i32::try_from(group).ok().and_then(Pid::from_raw);
    let in_front = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
    match group {
        Some(group) if files.terminals.ours && in_front => match tcsetpgrp(&stdin, group) {
            // The group is that of its parent then, and no other.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
            Err(errno) => Err(Error::file("give away", "our own terminal", errno)),
        },
        _ => Ok(()),
    }
}

fn by_path(files: &Files<'_>, tty: &TtyFileEntry) -> Result<OwnedFd, Error> {
    let path = path(files, tty)?;
    let flags = OFlags::from_bits_retain(tty.flags) | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(&path, flags, Mode::empty()).map_err(|errno| Error::file("open", path, errno))
}

/// Gives a terminal its settings; those of a pseudoterminal are set at either end.
fn set(file: &OwnedFd, info: &TtyInfoEntry) -> Result<(), Error> {
    let failed = |errno: Errno| Error::file("set up the terminal", path_of(info), errno);
    if let Some(locked) = info.termios_locked.as_ref().map(tty::from_entry) {
        // Which takes a privilege, so only where there is something to lock.
        if terminal::locked_settings(file).map_err(failed)? != locked {
            terminal::lock_settings(file, &locked).map_err(failed)?;
        }
    }
    if let Some(settings) = &info.termios {
        terminal::set_settings(file, &tty::from_entry(settings)).map_err(failed)?;
    }
    if let Some(size) = info.winsize {
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: short(size.ws_row),
            ws_col: short(size.ws_col),
            ws_xpixel: short(size.ws_xpixel),
            ws_ypixel: short(size.ws_ypixel),
        };
        tcsetwinsize(file, size).map_err(failed)?;
    }
    if let (Some(uid), Some(gid), false) = (info.uid, info.gid, tty::is_master(info)) {
        let present = rustix::fs::fstat(file).map_err(failed)?;
        if (present.st_uid, present.st_gid) != (uid, gid) {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
        }
    }
    Ok(())
}

/// Gives the leader of a session its terminal.
pub(super) fn control(
    files: &mut Files<'_>,
    member: &mut Member,
    pid: u32,
    transport: &Transport,
) -> Result<(), Error> {
    let Some(file) = controlling(files, pid)? else {
        return Ok(());
    };
    with(member, transport, &file, |member, number| {
        let args = [number.into(), libc::TIOCSCTTY, 0];
        let what = "take control of a terminal in";
        member.leader.call(what, libc::SYS_ioctl, args)?;
        Ok(())
    })
}

/// The terminal that the session of this leader has.
fn controlling(files: &mut Files<'_>, pid: u32) -> Result<Option<OwnedFd>, Error> {
    let snapshot = files.snapshot;
    let real = |info: &&TtyInfoEntry| {
        info.sid == pid && info.r#type() == TtyType::Pty && !tty::is_hung_up(info)
    };
    let mut found = snapshot.ttys.iter().filter(real);
    let Some(info) = found.find(|info| has_master(files, info)) else {
        return Ok(None);
    };
    let index = index(info);
    master(files, index)?;
    let path = format!("/dev/pts/{index}");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(&path, flags, Mode::empty());
    file.map(Some)
        .map_err(|errno| Error::file("open", path, errno))
}

/// What needs processes in their sessions and groups: which group a terminal is given to, and `/dev/tty`.
pub(super) fn prepare(
    files: &mut Files<'_>,
    crew: &mut Crew,
    transport: &Transport,
) -> Result<(), Error> {
    let snapshot = files.snapshot;
    let mut done = BTreeSet::new();
    for info in &snapshot.ttys {
        let leads = snapshot
            .processes
            .iter()
            .any(|one| one.pid() == info.sid && one.mm.is_some());
        if !leads || info.pgrp == 0 || !done.insert(info.sid) {
            continue;
        }
        if let Some(file) = controlling(files, info.sid)? {
            let member = crew.member(info.sid)?;
            foreground(member, info.pgrp, transport, &file)?;
        }
    }
    for process in snapshot
        .processes
        .iter()
        .filter(|process| process.mm.is_some())
    {
        current(files, crew, process)?;
    }
    Ok(())
}

fn foreground(
    member: &mut Member,
    group: u32,
    transport: &Transport,
    file: &OwnedFd,
) -> Result<(), Error> {
    with(member, transport, file, |member, number| {
        let task = &mut member.leader;
        let at = task.argument(&group.to_ne_bytes())?;
        let what = "give a terminal to a group in";
        let args = [number.into(), libc::TIOCSPGRP, at];
        match task.try_call(what, libc::SYS_ioctl, args)? {
            // The group has ended: then it stays with the leader's.
            Ok(_) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Step::new(what, task.tid).errno(errno)),
        }
    })
}

/// Has a process open what it has open of `/dev/tty`, for all who have the same open.
fn current(files: &mut Files<'_>, crew: &mut Crew, process: &Process) -> Result<(), Error> {
    let snapshot = files.snapshot;
    for descriptor in snapshot
        .tables
        .get(&process.ids.files_id)
        .into_iter()
        .flatten()
    {
        let Some(entry) = snapshot.files.get(&descriptor.id) else {
            continue;
        };
        if entry.r#type() != FdTypes::Tty || files.made.contains_key(&entry.id) {
            continue;
        }
        let tty = tty_of(entry)?;
        if info(files, tty)?.r#type() != TtyType::Ctty {
            continue;
        }
        let mut name = path(files, tty)?.as_os_str().as_bytes().to_vec();
        name.push(0);
        let task = &mut crew.member(process.pid())?.leader;
        let at = task.argument(&name)?;
        let args = [
            libc::AT_FDCWD.cast_unsigned().into(),
            at,
            tty.flags.into(),
            0,
        ];
        let number = task.call("open the controlling terminal in", libc::SYS_openat, args)?;
        let step = Step::new("take the controlling terminal of", task.tid);
        let pidfd = pidfd_open(task.tid, PidfdFlags::empty()).map_err(|errno| step.errno(errno))?;
        let remote = i32::try_from(number).unwrap_or(-1);
        let file = pidfd_getfd(&pidfd, remote, PidfdGetfdFlags::empty());
        let file = file.map_err(|errno| step.errno(errno))?;
        task.call("close a descriptor", libc::SYS_close, [number])?;
        settle(&file, tty.flags, &tty.fown)?;
        files.made.insert(entry.id, file);
    }
    Ok(())
}

/// Does something with a file that is open in a task only meanwhile.
fn with(
    member: &mut Member,
    transport: &Transport,
    file: &OwnedFd,
    act: impl FnOnce(&mut Member, u32) -> Result<(), Error>,
) -> Result<(), Error> {
    let socket = member.socket;
    let number = transport.hand_over(&mut member.leader, socket, file.as_fd())?;
    act(member, number)?;
    member
        .leader
        .call("close a descriptor", libc::SYS_close, [number.into()])?;
    Ok(())
}

/// What waited in terminals, and what keeps others from opening them.
pub(super) fn finish(files: &mut Files<'_>) -> Result<(), Error> {
    let data = |id: u32| {
        let data = files
            .snapshot
            .tty_data
            .iter()
            .find(|data| data.tty_id == id);
        data.map(|data| data.data.clone()).unwrap_or_default()
    };
    for (index, master) in &files.terminals.masters {
        let waiting = Waiting {
            typed: data(index * 2),
            printed: data(index * 2 + 1),
        };
        let path = format!("/dev/pts/{index}");
        let failed = |errno: Errno| Error::file("fill", &path, errno);
        if waiting != Waiting::default() {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let slave = open(&path, flags, Mode::empty()).map_err(failed)?;
            tty::put_back(master, slave, &waiting).map_err(failed)?;
        }
        for info in &files.snapshot.ttys {
            if info.id == index * 2 + 1 && info.locked {
                terminal::set_locked(master, true).map_err(failed)?;
            }
        }
    }
    take_our_place(files)?;
    // Open descriptors of exclusive terminals stay open.
    for (id, file) in &files.made {
        let tty = files
            .snapshot
            .files
            .get(id)
            .and_then(|entry| entry.tty.as_ref());
        let info = tty.and_then(|tty| info(files, tty).ok());
        if let Some(info) = info.filter(|info| info.exclusive) {
            rustix::termios::ioctl_tiocexcl(file)
                .map_err(|errno| Error::file("keep for itself", path_of(info), errno))?;
        }
    }
    Ok(())
}

fn tty_of(entry: &FileEntry) -> Result<&TtyFileEntry, Error> {
    let missing = || Error::inconsistent(format!("file {} is not what its type says", entry.id));
    entry.tty.as_ref().ok_or_else(missing)
}

fn info<'s>(files: &Files<'s>, tty: &TtyFileEntry) -> Result<&'s TtyInfoEntry, Error> {
    let missing = || Error::inconsistent(format!("terminal {} is not there", tty.tty_info_id));
    let mut infos = files.snapshot.ttys.iter();
    infos
        .find(|info| info.id == tty.tty_info_id)
        .ok_or_else(missing)
}

fn index(info: &TtyInfoEntry) -> u32 {
    info.pty
        .as_ref()
        .map_or(0, |pty| pty.index.min(tty::LAST_INDEX))
}

fn has_master(files: &Files<'_>, info: &TtyInfoEntry) -> bool {
    let number = index(info) * 2 + 1;
    let mut ttys = files
        .snapshot
        .files
        .values()
        .filter_map(|entry| entry.tty.as_ref());
    ttys.any(|tty| tty.tty_info_id == number)
}

fn path(files: &Files<'_>, tty: &TtyFileEntry) -> Result<std::path::PathBuf, Error> {
    let missing = || Error::inconsistent(format!("terminal {} has no path", tty.id));
    let entry = files.entry(tty.regf_id.ok_or_else(missing)?)?;
    let reg = entry.reg.as_ref().ok_or_else(missing)?;
    Ok(OsStr::from_bytes(&reg.name).into())
}

/// How a person knows it.
fn path_of(info: &TtyInfoEntry) -> String {
    match &info.pty {
        Some(pty) => format!("/dev/pts/{}", pty.index),
        None => info.r#type().as_str_name().to_lowercase(),
    }
}
