//! What a process does with signals, and those that wait for it.

use super::calls::{ask, word};
use crate::error::{Error, Step};
use plimsoll_image::proto::{SaEntry, SiginfoEntry, SignalQueueEntry, ThreadSasEntry};
use plimsoll_surgery::operate::Operation;
use plimsoll_sys::ptrace::{Queue, Stopped};

const SS_ONSTACK: u64 = 1;

/// Signals whose action can be set: 1 to 64 but SIGKILL and SIGSTOP, in the images' order.
pub(crate) fn settable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| *signal != libc::SIGKILL && *signal != libc::SIGSTOP)
}

/// The actions of all settable signals. Only those that the kernel says are caught or ignored are asked for.
pub(super) fn actions(operation: &mut Operation<'_>, set: u64) -> Result<Vec<SaEntry>, Error> {
    let mut actions = Vec::with_capacity(62);
    for signal in settable() {
        let mut action = SaEntry {
            compat_sigaction: Some(false),
            ..SaEntry::default()
        };
        if set >> (signal - 1) & 1 == 1 {
            let number = u64::from(signal.unsigned_abs());
            let what = "read a signal action";
            let args = |at| [number, 0, at, 8, 0, 0];
            let answer: [u8; 32] = ask(operation, what, libc::SYS_rt_sigaction, args)?;
            action.sigaction = word(&answer, 0);
            action.flags = word(&answer, 1);
            action.restorer = word(&answer, 2);
            action.mask = word(&answer, 3);
        }
        actions.push(action);
    }
    Ok(actions)
}

/// The alternate stack of the thread that executes calls for us.
pub(super) fn alternate_stack(operation: &mut Operation<'_>) -> Result<ThreadSasEntry, Error> {
    let what = "read the alternate signal stack";
    let answer: [u8; 24] = ask(operation, what, libc::SYS_sigaltstack, |at| {
        [0, at, 0, 0, 0, 0]
    })?;
    // stack_t: pointer, flags (int), padding, size. Whether the thread is on it was asked where it does not stand.
    let flags = word(&answer, 1) & u64::from(u32::MAX) & !SS_ONSTACK;
    Ok(ThreadSasEntry {
        ss_sp: word(&answer, 0),
        ss_size: word(&answer, 2),
        ss_flags: u32::try_from(flags).unwrap_or(0),
    })
}

/// The signals that wait in a queue, oldest first.
pub(super) fn pending(thread: &Stopped, queue: Queue) -> Result<SignalQueueEntry, Error> {
    let step = Step::new("read the pending signals", thread.tid());
    let pending = thread.pending(queue).map_err(|error| step.failed(error))?;
    let entry = |info: plimsoll_sys::ptrace::SigInfo| SiginfoEntry {
        siginfo: info.as_bytes().to_vec(),
    };
    Ok(SignalQueueEntry {
        signals: pending.into_iter().map(entry).collect(),
    })
}
