//! Descriptors that events come from: eventfd, timerfd, signalfd, epoll, pidfd. What they hold stands in `fdinfo`.

use super::{Files, Open, entry, unknown};
use crate::coverage::EPOLL;
use crate::error::Error;
use plimsoll_image::proto::{
    EventfdFileEntry, EventpollFileEntry, EventpollTfdEntry, FdTypes, FileEntry, PidfdEntry,
    SignalfdEntry, TimerfdEntry,
};
use plimsoll_proc::process::fdinfo::Kind;
use plimsoll_sys::kcmp;
use std::collections::BTreeMap;

/// `eventfd(2)`
pub(super) fn eventfd(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let Kind::Eventfd { count, semaphore } = open.info.kind else {
        return Err(unknown(open));
    };
    let semaphore = if semaphore == Some(true) {
        libc::EFD_SEMAPHORE
    } else {
        0
    };
    Ok(FileEntry {
        efd: Some(EventfdFileEntry {
            id,
            flags: open.flags() | semaphore.unsigned_abs(),
            fown: open.owner()?,
            counter: count,
        }),
        ..entry(FdTypes::Eventfd, id)
    })
}

/// `timerfd_create(2)`
pub(super) fn timerfd(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let Kind::Timerfd(timer) = &open.info.kind else {
        return Err(unknown(open));
    };
    // One that has ticked and was not read since stands still until it is. Who restores it by what `fdinfo` says would
    // switch it off; CRIU does.
    let stands = timer.ticks > 0 && timer.value == (0, 0) && timer.interval != (0, 0);
    let value = if stands { (0, 1) } else { timer.value };
    Ok(FileEntry {
        tfd: Some(TimerfdEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            clockid: timer.clockid,
            ticks: timer.ticks,
            settime_flags: timer.settime_flags,
            vsec: value.0,
            vnsec: value.1,
            isec: timer.interval.0,
            insec: timer.interval.1,
        }),
        ..entry(FdTypes::Timerfd, id)
    })
}

/// `signalfd(2)`
pub(super) fn signalfd(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let Kind::Signalfd(sigmask) = open.info.kind else {
        return Err(unknown(open));
    };
    Ok(FileEntry {
        sgfd: Some(SignalfdEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            sigmask,
        }),
        ..entry(FdTypes::Signalfd, id)
    })
}

/// `epoll(7)`
pub(super) fn epoll(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let targets = match &open.info.kind {
        Kind::Epoll(targets) => targets.as_slice(),
        _ => &[], // it watches nothing
    };
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let mut entries = Vec::with_capacity(targets.len());
    let mut seen = BTreeMap::new();
    for target in targets {
        let nth: &mut u32 = seen.entry(target.tfd).or_default();
        entries.push(EventpollTfdEntry {
            id,
            tfd: number_of(files, open, target.tfd, *nth)?,
            events: target.events,
            data: target.data,
            dev: small(target.sdev),
            inode: target.ino,
            pos: Some(0),
        });
        *nth += 1;
    }
    Ok(FileEntry {
        epfd: Some(EventpollFileEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            tfd: entries,
        }),
        ..entry(FdTypes::Eventpoll, id)
    })
}

/// A number of the file that an epoll watches, the `nth` that it was told of as `told`. That number may be closed since, or
/// be another file's. One that came to us in flight watches files of processes that have been looked at.
fn number_of(files: &Files, open: &Open<'_>, told: u32, nth: u32) -> Result<u32, Error> {
    let target = kcmp::EpollTarget {
        epoll: open.fd,
        number: told,
        nth,
    };
    let mut holders = vec![open.pid];
    if open.pid == std::process::id() {
        let known = files.known.iter().map(|((pid, _), _)| *pid);
        holders = known.filter(|pid| *pid != open.pid).collect();
        holders.sort_unstable();
        holders.dedup();
    }
    for pid in holders {
        let is = |number: u32| kcmp::is_target((pid, number), open.pid, target) == Ok(true);
        if is(told) {
            return Ok(told);
        }
        let path = format!("/proc/{pid}/fd");
        let names =
            std::fs::read_dir(&path).map_err(|source| Error::file("list", &path, source))?;
        let mut numbers = names.filter_map(|name| name.ok()?.file_name().to_str()?.parse().ok());
        if let Some(number) = numbers.find(|number| is(*number)) {
            return Ok(number);
        }
    }
    Err(Error::refused(EPOLL.of(open.pid, &[&open.fd])))
}

/// `pidfd_open(2)`
pub(super) fn pidfd(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let Kind::Pidfd(pid) = open.info.kind else {
        return Err(unknown(open));
    };
    let nspid = i32::try_from(pid).unwrap_or(-1);
    Ok(FileEntry {
        pidfd: Some(PidfdEntry {
            id,
            ino: u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0),
            // Those that `pidfd_open(2)` takes.
            flags: open.info.flags & (libc::O_NONBLOCK | libc::O_EXCL).unsigned_abs(),
            nspid,
            fown: open.owner()?,
        }),
        ..entry(FdTypes::Pidfd, id)
    })
}
