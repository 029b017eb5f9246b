//! Sleeps that must last as long as was asked and end as was asked: never early, never with `EINTR`.

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::thread::{NanosleepRelativeResult, futex};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

fn lasted(begun: Instant) -> Result<(), String> {
    let took = begun.elapsed();
    if took < Duration::from_millis(20) {
        return Err(format!("a sleep of 20 ms ended after {took:?}"));
    }
    Ok(())
}

pub(crate) fn nanosleep() -> Result<(), String> {
    let begun = Instant::now();
    match rustix::thread::nanosleep(&NAP) {
        NanosleepRelativeResult::Ok => lasted(begun),
        other => Err(format!("nanosleep ended with {other:?}")),
    }
}

/// Signals may end this sleep, nothing else may.
pub(crate) fn nanosleep_through_signals() -> Result<(), String> {
    let before = plimsoll_sys::signal::counted();
    match rustix::thread::nanosleep(&NAP) {
        NanosleepRelativeResult::Interrupted(_) if plimsoll_sys::signal::counted() == before => {
            Err("nanosleep was interrupted by no signal".to_owned())
        }
        _ => Ok(()),
    }
}

pub(crate) fn futex() -> Result<(), String> {
    let begun = Instant::now();
    let word = AtomicU32::new(0);
    match futex::wait(&word, futex::Flags::PRIVATE, 0, Some(&NAP)) {
        Err(Errno::TIMEDOUT) => lasted(begun),
        other => Err(format!("futex ended with {other:?}")),
    }
}

pub(crate) fn poll() -> Result<impl FnMut() -> Result<(), String>, String> {
    let (reader, writer) = rustix::pipe::pipe().map_err(|error| error.to_string())?;
    Ok(move || {
        let begun = Instant::now();
        let _open = &writer;
        match rustix::event::poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&NAP)) {
            Ok(0) => lasted(begun),
            other => Err(format!("poll ended with {other:?}")),
        }
    })
}

pub(crate) fn epoll() -> Result<impl FnMut() -> Result<(), String>, String> {
    let fd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
    Ok(move || {
        let begun = Instant::now();
        let mut events: [epoll::Event; 1] = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        match epoll::wait(&fd, &mut events, Some(&NAP)) {
            Ok(0) => lasted(begun),
            other => Err(format!("epoll_wait ended with {other:?}")),
        }
    })
}

/// A short sleep, whatever becomes of it.
pub(crate) fn nap() {
    std::thread::sleep(std::time::Duration::from_millis(1));
}
