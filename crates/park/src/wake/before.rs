//! Where the threads of a tree are while they still run: what a stop hides.
//!
//! A call that was interrupted before is a `restart_syscall(2)` in a thread's registers, whatever it was; the
//! kernel function that it sleeps in tells (`/proc/PID/task/TID/wchan`, `proc_pid_wchan(5)`). That and how long it
//! has slept are gone once the thread has been woken to be stopped.

use super::call;
use super::slept::slept_ns;
use plimsoll_proc::text::{hex, number, words};
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
    Some(Seen {
        asleep: (found, stack_pointer),
        restarts,
        slept_ns: matters.then(|| slept_ns(root, task)).flatten(),
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
}
