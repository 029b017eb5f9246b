//! The other threads of a process, with their old ids, and what each thread has registered with the kernel.

use super::crew::Member;
use super::task::Task;
use crate::error::{Error, Step};
use crate::snapshot::Process;
use plimsoll_image::proto::{CoreEntry, ThreadCoreEntry};
use plimsoll_sys::task::{Scheduling, set_scheduling};

/// What threads of one process share.
const SHARED: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

/// Makes the threads beside the leader.
pub(super) fn make(member: &mut Member, process: &Process) -> Result<(), Error> {
    for (tid, _) in process.threads.iter().skip(1) {
        let thread = member
            .leader
            .clone_with(SHARED.unsigned_abs().into(), *tid)?;
        member.others.push(thread);
    }
    Ok(())
}

/// What a thread had registered, how it is scheduled, its name.
pub(super) fn register(task: &mut Task, core: &CoreEntry) -> Result<(), Error> {
    let Some(thread) = &core.thread_core else {
        return Ok(());
    };
    schedule(task, thread)?;
    let address = core
        .thread_info
        .as_ref()
        .map_or(0, |info| info.clear_tid_addr);
    task.call(
        "set the tid address of",
        libc::SYS_set_tid_address,
        [address],
    )?;
    if thread.futex_rla != 0 {
        let args = [thread.futex_rla, thread.futex_rla_len.into()];
        task.call("set the robust list of", libc::SYS_set_robust_list, args)?;
    }
    let whole = core.tc.as_ref().map(|whole| &whole.comm);
    if let Some(name) = thread.comm.as_ref().or(whole) {
        super::process::set_name(task, name)?;
    }
    Ok(())
}

/// The last call of a thread: from here on the kernel looks into its memory whenever it runs.
pub(super) fn register_rseq(task: &mut Task, core: &CoreEntry) -> Result<(), Error> {
    let rseq = core
        .thread_core
        .as_ref()
        .and_then(|thread| thread.rseq_entry.as_ref());
    let Some(rseq) = rseq.filter(|rseq| rseq.rseq_abi_pointer != 0) else {
        return Ok(());
    };
    let args = [
        rseq.rseq_abi_pointer,
        rseq.rseq_abi_size.into(),
        0,
        rseq.signature.into(),
    ];
    task.call("register restartable sequences of", libc::SYS_rseq, args)?;
    Ok(())
}

fn schedule(task: &Task, thread: &ThreadCoreEntry) -> Result<(), Error> {
    let wanted = Scheduling {
        policy: thread.sched_policy.unwrap_or(0),
        nice: thread.sched_nice.unwrap_or(0),
        priority: thread.sched_prio.unwrap_or(0),
    };
    let step = Step::new("schedule", task.tid);
    let present = plimsoll_sys::task::scheduling(task.tid).map_err(|errno| step.errno(errno))?;
    if present == wanted {
        return Ok(());
    }
    set_scheduling(task.tid, wanted).map_err(|errno| step.errno(errno))
}
