//! Descriptors that events come from: eventfd, timerfd, signalfd, epoll, pidfd.

use super::super::crew::Crew;
use super::super::transport::Transport;
use super::stand_in::StandIn;
use super::{Files, own, settle};
use crate::error::Error;
use crate::snapshot::{Process, Snapshot};
use plimsoll_image::proto::{EventpollTfdEntry, FileEntry};
use plimsoll_sys::event_files;
use rustix::event::{EventfdFlags, epoll as rustix_epoll, eventfd as make_eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::collections::BTreeSet;

fn inconsistent(entry: &FileEntry) -> Error {
    Error::inconsistent(format!("file {} is not what its type says", entry.id))
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::file("make", what, errno)
}

/// `eventfd(2)`
pub(super) fn eventfd(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let event = entry.efd.as_ref().ok_or_else(|| inconsistent(entry))?;
    let failed = failed("an eventfd");
    let semaphore = event.flags & libc::EFD_SEMAPHORE.unsigned_abs() != 0;
    let kind = if semaphore {
        EventfdFlags::SEMAPHORE
    } else {
        EventfdFlags::empty()
    };
    let file = make_eventfd(0, kind | EventfdFlags::CLOEXEC).map_err(&failed)?;
    if event.counter > 0 {
        rustix::io::write(&file, &event.counter.to_ne_bytes()).map_err(&failed)?;
    }
    settle(&file, event.flags, &event.fown)?;
    Ok(file)
}

/// `timerfd_create(2)`
pub(super) fn timerfd(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let timer = entry.tfd.as_ref().ok_or_else(|| inconsistent(entry))?;
    let failed = failed("a timerfd");
    let (clock, now) = match timer.clockid.cast_signed() {
        libc::CLOCK_REALTIME => (TimerfdClockId::Realtime, ClockId::Realtime),
        libc::CLOCK_BOOTTIME => (TimerfdClockId::Boottime, ClockId::Boottime),
        libc::CLOCK_REALTIME_ALARM => (TimerfdClockId::RealtimeAlarm, ClockId::Realtime),
        libc::CLOCK_BOOTTIME_ALARM => (TimerfdClockId::BoottimeAlarm, ClockId::Boottime),
        _ => (TimerfdClockId::Monotonic, ClockId::Monotonic),
    };
    let file = timerfd_create(clock, TimerfdFlags::CLOEXEC).map_err(&failed)?;
    let time = |seconds: u64, nanoseconds: u64| Timespec {
        tv_sec: seconds.cast_signed(),
        tv_nsec: nanoseconds.cast_signed(),
    };
    let mut value = time(timer.vsec, timer.vnsec);
    let mut flags = TimerfdTimerFlags::from_bits_retain(timer.settime_flags);
    if (timer.vsec, timer.vnsec) == (0, 0) {
        flags = TimerfdTimerFlags::empty();
        // One that has ticked and was not read since stands still until it is: by itself it would be off.
        if timer.ticks > 0 && (timer.isec, timer.insec) != (0, 0) {
            value = time(0, 1);
        }
    } else if flags.contains(TimerfdTimerFlags::ABSTIME) {
        // The images hold what is left.
        value = clock_gettime(now)
            .checked_add(value)
            .ok_or_else(|| inconsistent(entry))?;
    }
    let it_interval = time(timer.isec, timer.insec);
    let set = Itimerspec {
        it_interval,
        it_value: value,
    };
    timerfd_settime(&file, flags, &set).map_err(&failed)?;
    if timer.ticks > 0 {
        event_files::set_timerfd_ticks(&file, timer.ticks).map_err(&failed)?;
    }
    settle(&file, timer.flags, &timer.fown)?;
    Ok(file)
}

/// `signalfd(2)`
pub(super) fn signalfd(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let signals = entry.sgfd.as_ref().ok_or_else(|| inconsistent(entry))?;
    let file = event_files::signalfd(signals.sigmask).map_err(failed("a signalfd"))?;
    settle(&file, signals.flags, &signals.fown)?;
    Ok(file)
}

/// `epoll(7)`; what it watches comes when all descriptors are in place.
pub(super) fn epoll(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let epoll = entry.epfd.as_ref().ok_or_else(|| inconsistent(entry))?;
    let file =
        rustix_epoll::create(rustix_epoll::CreateFlags::CLOEXEC).map_err(failed("an epoll"))?;
    settle(&file, epoll.flags, &epoll.fown)?;
    Ok(file)
}

/// `pidfd_open(2)`; one whose process is gone leads to another that has ended, the same for all that led to the same.
pub(super) fn pidfd(files: &mut Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let of = entry.pidfd.as_ref().ok_or_else(|| inconsistent(entry))?;
    let failed = failed("a pidfd");
    // -1: it was gone. (`Pid::from_raw` takes no negative number.)
    let pid = match Pid::from_raw(of.nspid.max(0)) {
        Some(pid) => pid,
        None => ended(files, of.ino).map_err(&failed)?,
    };
    let flags = PidfdFlags::from_bits_retain(of.flags) & (PidfdFlags::NONBLOCK | THREAD);
    let file = pidfd_open(pid, flags).map_err(&failed)?;
    own(&file, &of.fown)?;
    Ok(file)
}

/// `PIDFD_THREAD` (Linux 6.9)
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.unsigned_abs());

fn ended(files: &mut Files<'_>, inode: u32) -> Result<Pid, Errno> {
    if let Some(there) = files.ended.get(&inode) {
        return Ok(there.pid);
    }
    let processes = &files.snapshot.processes;
    let ids = processes.iter().flat_map(|process| {
        let node = &process.node;
        node.threads
            .iter()
            .copied()
            .chain([node.pid, node.pgid, node.sid])
    });
    let made = StandIn::ended(&ids.collect())?;
    let pid = made.pid;
    files.ended.insert(inode, made);
    Ok(pid)
}

/// Has every epoll watch what it watched. Each watch is known to the kernel by open file and number, so a process that has
/// both must set it. One that nobody has, since it is in flight, is lent to a process that has the numbers.
pub(super) fn watch(
    files: &mut Files<'_>,
    crew: &mut Crew,
    snapshot: &Snapshot,
    transport: &Transport,
) -> Result<(), Error> {
    let mut done = BTreeSet::new();
    for process in snapshot
        .processes
        .iter()
        .filter(|process| process.mm.is_some())
    {
        let Some(table) = snapshot.tables.get(&process.ids.files_id) else {
            continue;
        };
        for descriptor in table {
            let entry = snapshot.files.get(&descriptor.id);
            let Some(epoll) = entry.and_then(|entry| entry.epfd.as_ref()) else {
                continue;
            };
            if !done.insert(descriptor.id) {
                continue;
            }
            for target in &epoll.tfd {
                add(crew, process.pid(), descriptor.fd, target)?;
            }
        }
    }
    for (id, epoll) in snapshot
        .files
        .iter()
        .filter_map(|(id, entry)| Some((id, entry.epfd.as_ref()?)))
    {
        if epoll.tfd.is_empty() || done.contains(id) {
            continue;
        }
        let has_all = |process: &&Process| {
            let table = snapshot.tables.get(&process.ids.files_id);
            let has = |number| table.is_some_and(|table| table.iter().any(|it| it.fd == number));
            process.mm.is_some() && epoll.tfd.iter().all(|target| has(target.tfd))
        };
        let missing = || Error::inconsistent(format!("nobody has what epoll {id} watches"));
        let pid = snapshot
            .processes
            .iter()
            .find(has_all)
            .ok_or_else(missing)?
            .pid();
        let member = crew.member(pid)?;
        let lent = transport.hand_over(&mut member.leader, member.socket, files.get(*id)?)?;
        for target in &epoll.tfd {
            add(crew, pid, lent, target)?;
        }
        let task = &mut crew.member(pid)?.leader;
        task.call("close a descriptor", libc::SYS_close, [lent.into()])?;
    }
    Ok(())
}

fn add(crew: &mut Crew, pid: u32, epoll: u32, target: &EventpollTfdEntry) -> Result<(), Error> {
    const EPOLL_CTL_ADD: u64 = 1;
    const F_DUPFD: u64 = libc::F_DUPFD.unsigned_abs() as u64;
    let task = &mut crew.member(pid)?.leader;
    // struct epoll_event is packed: events, then data.
    let mut bytes = target.events.to_ne_bytes().to_vec();
    bytes.extend(target.data.to_ne_bytes());
    let at = task.argument(&bytes)?;
    let what = "watch a descriptor in";
    let watched = |number: u64| [epoll.into(), EPOLL_CTL_ADD, number, at];
    let number = u64::from(target.tfd);
    match task.try_call(what, libc::SYS_epoll_ctl, watched(number))? {
        // The same file twice: the second time by a number that is closed by now, and is again.
        Err(Errno::EXIST) => {
            let other = task.call(what, libc::SYS_fcntl, [number, F_DUPFD, 0])?;
            task.call(what, libc::SYS_epoll_ctl, watched(other))?;
            task.call("close a descriptor", libc::SYS_close, [other])?;
        }
        added => drop(added.map_err(|errno| crate::error::Step::new(what, task.tid).errno(errno))?),
    }
    Ok(())
}
