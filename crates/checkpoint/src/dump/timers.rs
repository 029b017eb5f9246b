//! Timers of a process: the three interval timers (`getitimer(2)`) and those of `timer_create(2)`, which
//! `/proc/PID/timers` lists (`CONFIG_CHECKPOINT_RESTORE`).

use super::calls::{ask, word};
use crate::error::Error;
use plimsoll_image::proto::{ItimerEntry, PosixTimerEntry, TaskTimersEntry};
use plimsoll_proc::Root;
use plimsoll_proc::text::{lines, number};
use plimsoll_surgery::operate::Operation;
use plimsoll_sys::remote::Syscall;

/// All timers of the process that executes calls for us.
pub(super) fn look(root: &Root, operation: &mut Operation<'_>) -> Result<TaskTimersEntry, Error> {
    let [real, virt, prof] = [0, 1, 2].map(|which| interval(operation, which));
    let mut real = real?;
    if (real.isec, real.iusec) != (0, 0) && (real.vsec, real.vusec) == (0, 0) {
        // Its signal is on its way, and sets it off again when it is taken. Who restores it as it is would switch it off.
        real.vusec = 1;
    }
    let text = match root.read(format!("proc/{}/timers", operation.pid())) {
        Err(error) if error.is_gone() => Vec::new(), // a kernel without the file
        text => text?,
    };
    let mut posix = parse(&text);
    for timer in &mut posix {
        fill(operation, timer)?;
    }
    Ok(TaskTimersEntry {
        real,
        virt: virt?,
        prof: prof?,
        posix,
    })
}

fn interval(operation: &mut Operation<'_>, which: u64) -> Result<ItimerEntry, Error> {
    let what = "read an interval timer";
    let answer: [u8; 32] = ask(operation, what, libc::SYS_getitimer, |at| {
        [which, at, 0, 0, 0, 0]
    })?;
    Ok(ItimerEntry {
        isec: word(&answer, 0),
        iusec: word(&answer, 1),
        vsec: word(&answer, 2),
        vusec: word(&answer, 3),
    })
}

fn fill(operation: &mut Operation<'_>, timer: &mut PosixTimerEntry) -> Result<(), Error> {
    let id = u64::from(timer.it_id);
    let what = "read a timer";
    let answer: [u8; 32] = ask(operation, what, libc::SYS_timer_gettime, |at| {
        [id, at, 0, 0, 0, 0]
    })?;
    timer.isec = word(&answer, 0);
    timer.insec = word(&answer, 1);
    timer.vsec = word(&answer, 2);
    timer.vnsec = word(&answer, 3);
    let overrun = operation.call(what, Syscall::new(libc::SYS_timer_getoverrun, [id]))?;
    timer.overrun = u32::try_from(overrun).unwrap_or(u32::MAX);
    Ok(())
}

/// Four lines a timer: `ID: 0`, `signal: 60/00007fff86e452a8` (number and value), `notify: signal/pid.2634` (or `tid.`,
/// `none/`, `thread/`), `ClockID: 0`.
fn parse(text: &[u8]) -> Vec<PosixTimerEntry> {
    let mut timers: Vec<PosixTimerEntry> = Vec::new();
    for line in lines(text) {
        let Some((key, value)) = plimsoll_proc::text::key_value(line) else {
            continue;
        };
        if key == b"ID" {
            timers.push(PosixTimerEntry {
                it_id: small(value),
                ..PosixTimerEntry::default()
            });
        }
        let Some(timer) = timers.last_mut() else {
            continue;
        };
        match key {
            b"signal" => {
                let mut parts = value.splitn(2, |byte| *byte == b'/');
                timer.si_signo = parts.next().map_or(0, small);
                timer.sival_ptr = parts.next().and_then(plimsoll_proc::text::hex).unwrap_or(0);
            }
            b"notify" => (timer.it_sigev_notify, timer.notify_thread_id) = notify(value),
            b"ClockID" => timer.clock_id = clock(value),
            _ => {}
        }
    }
    timers
}

/// `SIGEV_*`, and the thread that `SIGEV_THREAD_ID` names.
fn notify(value: &[u8]) -> (u32, Option<i32>) {
    const SIGEV_THREAD_ID: u32 = 4;
    let mut parts = value.splitn(2, |byte| *byte == b'/');
    let kind = match parts.next() {
        Some(b"none") => 1,
        Some(b"thread") => 2,
        _ => 0,
    };
    let target = parts.next().unwrap_or_default();
    match target.strip_prefix(b"tid.") {
        Some(tid) => (
            kind | SIGEV_THREAD_ID,
            number(tid).and_then(|tid| i32::try_from(tid).ok()),
        ),
        None => (kind, None),
    }
}

fn small(value: &[u8]) -> u32 {
    number(value)
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(0)
}

/// Clocks of a process or thread are negative numbers.
fn clock(value: &[u8]) -> u32 {
    let signed = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    signed.map_or(0, i32::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_read() {
        let text = b"ID: 3\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n\
            ID: 4\nsignal: 14/0000000000000001\nnotify: signal/tid.77\nClockID: -6\n";
        let timers = parse(text);
        assert_eq!(timers.len(), 2);
        assert_eq!(
            (timers[0].it_id, timers[0].si_signo, timers[0].sival_ptr),
            (3, 60, 0x7fff_86e4_52a8)
        );
        assert_eq!(
            (timers[0].it_sigev_notify, timers[0].notify_thread_id),
            (0, None)
        );
        assert_eq!(
            (timers[1].it_sigev_notify, timers[1].notify_thread_id),
            (4, Some(77))
        );
        assert_eq!(timers[1].clock_id, 6i32.wrapping_neg().cast_unsigned());
    }
}
