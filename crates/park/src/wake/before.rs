//! Where the threads of a tree are while they still run: what a stop hides.
//!
//! A call that was interrupted before is a `restart_syscall(2)` in a thread's registers, whatever it was; the
//! kernel function that it sleeps in tells (`/proc/PID/task/TID/wchan`, `proc_pid_wchan(5)`). And how long a thread
//! has slept is how long ago it last ran: `se.exec_start` of `/proc/PID/task/TID/sched`, a clock that only that file
//! shows, so that ours is read beside it. Both are gone once the thread has been woken to be stopped.

use super::call;
use plimsoll_proc::text::{hex, lines, number, words};
use plimsoll_proc::{ReadError, Root};
use plimsoll_surgery::stop::Asleep;
use plimsoll_surgery::tree::{Extent, members, threads};
use plimsoll_sys::remote::Syscall;
use std::collections::HashMap;

/// Threads that were asleep before they were stopped, by thread id.
#[derive(Debug, Default)]
pub(crate) struct Before(HashMap<i32, Seen>);

/// A thread asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    asleep: (Syscall, u64),
    /// What `restart_syscall(2)` stands for, where it is that.
    restarts: Option<u64>,
    /// How long it had slept, in nanoseconds, where that matters and is told.
    pub(super) slept_ns: Option<u64>,
}

impl Before {
    /// Looks at every thread of a tree that runs. What can't be seen is left out.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub(crate) fn look(root: &Root, top: u32, extent: Extent) -> Result<Self, ReadError> {
        let mut seen = HashMap::new();
        for process in members(root, top, extent)? {
            for tid in threads(root, process.pid)? {
                let tid = tid.as_raw_pid();
                let task = format!("proc/{}/task/{tid}", process.pid);
                seen.extend(look_at(root, &task).map(|found| (tid, found)));
            }
        }
        Ok(Self(seen))
    }

    /// What was seen of a thread, if it has been in that sleep all the while; and the call itself, for what
    /// `restart_syscall(2)` stands for. `None` for a thread that was not asleep.
    pub(super) fn of(&self, asleep: &Asleep) -> Option<(Syscall, Option<u64>)> {
        let same = |seen: &&Seen| seen.asleep == (asleep.call, asleep.stack_pointer);
        match self.0.get(&asleep.tid.as_raw_pid()).filter(same) {
            None if asleep.is_over => None,
            None => Some((asleep.call, None)),
            Some(seen) => {
                let number = seen.restarts.unwrap_or(asleep.call.number);
                let args = asleep.call.args;
                Some((Syscall { number, args }, seen.slept_ns))
            }
        }
    }
}

fn look_at(root: &Root, task: &str) -> Option<Seen> {
    let (found, stack_pointer) = sleep(&root.read(format!("{task}/syscall")).ok()?)?;
    let restarts = if found.number == libc::SYS_restart_syscall.unsigned_abs() {
        let wchan = root.read(format!("{task}/wchan")).ok()?;
        Some(call::restarted(&wchan, &found.args)?)
    } else {
        None
    };
    let number = restarts.unwrap_or(found.number);
    let meant = Syscall { number, ..found };
    let matters = call::counts_from_its_beginning(&meant);
    let slept_ns = matters.then(|| {
        let last_ran = last_ran_ns(&root.read(format!("{task}/sched")).ok()?)?;
        let now = last_ran_ns(&root.read("proc/thread-self/sched").ok()?)?;
        Some(now.saturating_sub(last_ran))
    });
    Some(Seen {
        asleep: (found, stack_pointer),
        restarts,
        slept_ns: slept_ns.flatten(),
    })
}

/// `/proc/PID/task/TID/syscall`: number, six arguments, stack pointer, program counter. `None` for a thread that
/// runs, or sleeps outside any call.
fn sleep(text: &[u8]) -> Option<(Syscall, u64)> {
    let mut words = words(text);
    let call_number = number(words.next()?)?;
    let mut word = || hex(words.next()?.strip_prefix(b"0x")?);
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = word()?;
    }
    let call = Syscall {
        number: call_number,
        args,
    };
    Some((call, word()?))
}

/// `se.exec_start`, printed in milliseconds with six digits behind the point, in nanoseconds.
fn last_ran_ns(text: &[u8]) -> Option<u64> {
    let line = lines(text).find(|line| line.starts_with(b"se.exec_start"))?;
    let value = words(line).last()?;
    let point = value.iter().position(|byte| *byte == b'.')?;
    let (milliseconds, fraction) = value.split_at_checked(point)?;
    let nanoseconds = number(fraction.get(1..7)?)?;
    Some(number(milliseconds)?.checked_mul(1_000_000)? + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_read() {
        let text = b"230 0x0 0x1 0x7ffe5c75e990 0x0 0x5 0x6 0x7ffe5c75e978 0x7fccb8302503\n";
        let call = Syscall {
            number: 230,
            args: [0, 1, 0x7ffe_5c75_e990, 0, 5, 6],
        };
        assert_eq!(sleep(text), Some((call, 0x7ffe_5c75_e978)));
        assert_eq!(sleep(b"running\n"), None);
        assert_eq!(sleep(b"-1 0x7ffe5c75e978 0x7fccb8302503\n"), None);
        assert_eq!(sleep(b"0 0x1\n"), None);
    }

    #[test]
    fn when_a_thread_last_ran() {
        let text = b"sleep (12511, #threads: 1)\n---\nse.exec_start                                :      12791363.666053\nse.vruntime : 1.5\n";
        assert_eq!(last_ran_ns(text), Some(12_791_363_666_053));
        assert_eq!(last_ran_ns(b"se.exec_start : 1"), None);
        assert_eq!(last_ran_ns(b""), None);
    }

    #[test]
    fn our_own_clock_is_there() {
        let text = Root::live().read("proc/thread-self/sched").unwrap();
        assert!(last_ran_ns(&text).is_some());
    }
}
