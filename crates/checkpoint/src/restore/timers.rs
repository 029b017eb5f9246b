//! Interval timers, and those of `timer_create(2)` with their ids.

use super::task::Task;
use crate::error::Error;
use plimsoll_image::proto::{ItimerEntry, PosixTimerEntry, TaskTimersEntry};

/// Timers made with the ids asked for (Linux 6.16); before that, ids count up.
const PR_TIMER_CREATE_RESTORE_IDS: u64 = 77;

/// The one whose signal sets it off again (`setitimer(2)`).
const ITIMER_REAL: u64 = 0;

/// Sets all timers of a process.
pub(super) fn restore(task: &mut Task, timers: &TaskTimersEntry) -> Result<(), Error> {
    for (which, timer) in [
        (ITIMER_REAL, &timers.real),
        (1, &timers.virt),
        (2, &timers.prof),
    ] {
        interval(task, which, timer)?;
    }
    if timers.posix.is_empty() {
        return Ok(());
    }
    let by_id = task.try_call(
        "ask for timer ids of",
        libc::SYS_prctl,
        [PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0],
    )?;
    for timer in &timers.posix {
        create(task, timer, by_id.is_ok())?;
    }
    if by_id.is_ok() {
        task.call(
            "ask for timer ids of",
            libc::SYS_prctl,
            [PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0],
        )?;
    }
    for timer in &timers.posix {
        let words = [timer.isec, timer.insec, timer.vsec, timer.vnsec];
        let at = task.argument(&words.map(u64::to_ne_bytes).concat())?;
        let args = [timer.it_id.into(), 0, at, 0];
        task.call("set a timer of", libc::SYS_timer_settime, args)?;
    }
    Ok(())
}

fn interval(task: &mut Task, which: u64, timer: &ItimerEntry) -> Result<(), Error> {
    let mut words = [timer.isec, timer.iusec, timer.vsec, timer.vusec];
    if which == ITIMER_REAL && words != [0; 4] && words.get(2..) == Some(&[0; 2]) {
        // Its signal is on its way, and whoever takes it sets it off again: by itself it would be off.
        words = [timer.isec, timer.iusec, 0, 1];
    }
    if words != [0; 4] {
        let at = task.argument(&words.map(u64::to_ne_bytes).concat())?;
        task.call(
            "set an interval timer of",
            libc::SYS_setitimer,
            [which, at, 0],
        )?;
    }
    Ok(())
}

/// Makes a timer. Without a way to ask for an id, timers are made and deleted until it comes.
fn create(task: &mut Task, timer: &PosixTimerEntry, by_id: bool) -> Result<(), Error> {
    let what = "make a timer of";
    loop {
        // struct sigevent (64 bytes): value, signal, kind, thread; then the id.
        let mut bytes = timer.sival_ptr.to_ne_bytes().to_vec();
        bytes.extend(timer.si_signo.to_ne_bytes());
        bytes.extend(timer.it_sigev_notify.to_ne_bytes());
        bytes.extend(timer.notify_thread_id.unwrap_or(0).to_ne_bytes());
        bytes.resize(64, 0);
        bytes.extend(timer.it_id.to_ne_bytes());
        let at = task.argument(&bytes)?;
        let clock = u64::from(timer.clock_id);
        task.call(what, libc::SYS_timer_create, [clock, at, at + 64])?;
        let mut id = [0; 4];
        task.read(at + 64, &mut id)?;
        let id = u32::from_ne_bytes(id);
        if id == timer.it_id {
            return Ok(());
        }
        task.call("delete a timer of", libc::SYS_timer_delete, [id.into()])?;
        if by_id || id > timer.it_id {
            return Err(Error::inconsistent(format!(
                "timer {} can't have its id",
                timer.it_id
            )));
        }
    }
}
