//! Signal actions, alternate stacks, signals that wait.

use super::task::Task;
use crate::error::{Error, Step};
use crate::settable_signals;
use plimsoll_image::proto::{SaEntry, SignalQueueEntry, ThreadSasEntry};
use rustix::io::Errno;

/// The action of every signal. Those of a new task are all defaults.
pub(super) fn actions(task: &mut Task, actions: &[SaEntry]) -> Result<(), Error> {
    // Children that have ended again told their parent so. Ignored for a moment, the signal is forgotten.
    action(
        task,
        libc::SIGCHLD,
        &SaEntry {
            sigaction: 1,
            ..SaEntry::default()
        },
    )?;
    for (signal, entry) in settable_signals().zip(actions) {
        if signal == libc::SIGCHLD || entry.sigaction != 0 || entry.flags != 0 {
            action(task, signal, entry)?;
        }
    }
    Ok(())
}

fn action(task: &mut Task, signal: i32, entry: &SaEntry) -> Result<(), Error> {
    let words = [entry.sigaction, entry.flags, entry.restorer, entry.mask];
    let at = task.argument(&words.map(u64::to_ne_bytes).concat())?;
    let args = [signal.unsigned_abs().into(), at, 0, 8];
    task.call("set a signal action of", libc::SYS_rt_sigaction, args)?;
    Ok(())
}

/// The alternate stack of a thread.
pub(super) fn alternate_stack(task: &mut Task, stack: &ThreadSasEntry) -> Result<(), Error> {
    // Also where there is none: a task is born with that of the runtime of this very program.
    let words = [stack.ss_sp, stack.ss_flags.into(), stack.ss_size];
    let at = task.argument(&words.map(u64::to_ne_bytes).concat())?;
    task.call("set the alternate stack of", libc::SYS_sigaltstack, [at, 0])?;
    Ok(())
}

/// Signals that waited for the thread, or for its whole process, wait again. Each is sent by who gets it: the kernel lets
/// nobody else say who sent a signal.
pub(super) fn pending(
    task: &mut Task,
    pid: u32,
    queue: &SignalQueueEntry,
    whole: bool,
) -> Result<(), Error> {
    let step = Step::new("queue a signal for", task.tid);
    let tid = task.tid.as_raw_pid().unsigned_abs();
    for entry in &queue.signals {
        let number = entry
            .siginfo
            .first_chunk::<4>()
            .ok_or_else(|| step.errno(Errno::INVAL))?;
        let signal = u64::from(u32::from_ne_bytes(*number));
        let at = task.argument(&entry.siginfo)?;
        let what = "queue a signal for";
        if whole {
            task.call(what, libc::SYS_rt_sigqueueinfo, [pid.into(), signal, at])?;
        } else {
            task.call(
                what,
                libc::SYS_rt_tgsigqueueinfo,
                [pid.into(), tid.into(), signal, at],
            )?;
        }
    }
    Ok(())
}
