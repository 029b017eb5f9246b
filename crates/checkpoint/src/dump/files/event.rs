//! Descriptors that events come from: eventfd, timerfd, signalfd, epoll, pidfd. What they hold stands in `fdinfo`.

use super::{Files, Open, entry, unknown};
use crate::error::Error;
use plimsoll_image::proto::{
    EventfdFileEntry, EventpollFileEntry, EventpollTfdEntry, FdTypes, FileEntry, PidfdEntry,
    SignalfdEntry, TimerfdEntry,
};
use plimsoll_proc::process::fdinfo::Kind;

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
    Ok(FileEntry {
        tfd: Some(TimerfdEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            clockid: timer.clockid,
            ticks: timer.ticks,
            settime_flags: timer.settime_flags,
            vsec: timer.value.0,
            vnsec: timer.value.1,
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
pub(super) fn epoll(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let targets = match &open.info.kind {
        Kind::Epoll(targets) => targets.as_slice(),
        _ => &[], // it watches nothing
    };
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let target = |target: &plimsoll_proc::process::fdinfo::EpollTarget| EventpollTfdEntry {
        id,
        tfd: target.tfd,
        events: target.events,
        data: target.data,
        dev: small(target.sdev),
        inode: target.ino,
        pos: Some(0),
    };
    Ok(FileEntry {
        epfd: Some(EventpollFileEntry {
            id,
            flags: open.flags(),
            fown: open.owner()?,
            tfd: targets.iter().map(target).collect(),
        }),
        ..entry(FdTypes::Eventpoll, id)
    })
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
            flags: open.flags(),
            nspid,
            fown: open.owner()?,
        }),
        ..entry(FdTypes::Pidfd, id)
    })
}
