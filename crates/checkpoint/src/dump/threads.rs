//! One thread: its registers, what it registered with the kernel, how it is scheduled, who it is.

use super::calls::ask;
use super::{credentials, signals};
use crate::error::{Error, Step};
use crate::registers;
use plimsoll_image::proto::{
    CoreEntry, RseqEntry, ThreadCoreEntry, ThreadInfoX86, UserDescT, core_entry::March,
};
use plimsoll_proc::Root;
use plimsoll_proc::process::status::Status;
use plimsoll_surgery::operate::{Ground, Operation};
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_sys::ptrace::{Queue, Stopped};
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::task;
use rustix::io::Errno;

/// What a thread is asked itself.
struct Answers {
    clear_tid_addr: u64,
    pdeath_sig: u32,
    secure_bits: u64,
    alternate_stack: plimsoll_image::proto::ThreadSasEntry,
}

/// The thread at this place of the process's list.
pub(super) fn look(
    root: &Root,
    ground: &Ground,
    process: &mut StoppedProcess,
    place: usize,
) -> Result<CoreEntry, Error> {
    let pid = process.name.pid;
    let mut operation = Operation::by(ground, process, place)?;
    let answers = Answers::of(&mut operation)?;
    drop(operation);
    let Some(thread) = process.threads.get(place) else {
        return Err(Error::NoProcess(pid));
    };
    let tid = thread.tid();
    let text = root.read(format!("proc/{pid}/task/{}/status", tid.as_raw_pid()))?;
    let status =
        Status::parse(&text).map_err(|error| Step::new("read the status", tid).failed(error))?;
    Ok(CoreEntry {
        mtype: March::X8664.into(),
        thread_info: Some(machine_state(thread, answers.clear_tid_addr)?),
        thread_core: Some(ThreadCoreEntry {
            pdeath_sig: (answers.pdeath_sig != 0).then_some(answers.pdeath_sig),
            sas: Some(answers.alternate_stack),
            creds: Some(credentials::parse(&text, &status, answers.secure_bits)),
            comm: Some(status.name),
            // Strict is 1, filters 2, as in images; 0 is not said.
            seccomp_mode: status
                .seccomp
                .filter(|mode| *mode != 0)
                .and_then(|mode| mode.try_into().ok()),
            ..kernel_state(thread)?
        }),
        ..CoreEntry::default()
    })
}

impl Answers {
    fn of(operation: &mut Operation<'_>) -> Result<Self, Error> {
        let prctl = libc::SYS_prctl;
        let option = |option: i32| u64::from(option.unsigned_abs());
        let get_tid_address = option(libc::PR_GET_TID_ADDRESS);
        let what = "read its tid address";
        let address: [u8; 8] = ask(operation, what, prctl, |at| {
            [get_tid_address, at, 0, 0, 0, 0]
        })?;
        let get_pdeathsig = option(libc::PR_GET_PDEATHSIG);
        let what = "read its parent-death signal";
        let signal: [u8; 4] = ask(operation, what, prctl, |at| [get_pdeathsig, at, 0, 0, 0, 0])?;
        let get_bits = Syscall::new(prctl, [option(libc::PR_GET_SECUREBITS)]);
        Ok(Self {
            clear_tid_addr: u64::from_ne_bytes(address),
            pdeath_sig: u32::from_ne_bytes(signal),
            secure_bits: operation.call("read its secure bits", get_bits)?,
            alternate_stack: signals::alternate_stack(operation)?,
        })
    }
}

fn machine_state(thread: &Stopped, clear_tid_addr: u64) -> Result<ThreadInfoX86, Error> {
    let step = Step::new("read the registers", thread.tid());
    let general = thread.registers().map_err(|error| step.failed(error))?;
    let vector = thread.xstate().map_err(|error| step.failed(error))?;
    if registers::holds_unknown_state(&vector) {
        return Err(step.errno(Errno::NOTSUP));
    }
    Ok(ThreadInfoX86 {
        clear_tid_addr,
        gpregs: registers::general_to_image(&registers::going_on(&general)),
        fpregs: registers::vector_to_image(&vector),
        tls: (12..15).map(no_segment).collect(),
    })
}

/// An empty entry of the thread-local segments that only 32-bit code uses.
fn no_segment(entry_number: u32) -> UserDescT {
    UserDescT {
        entry_number,
        read_exec_only: true,
        seg_not_present: true,
        ..UserDescT::default()
    }
}

fn kernel_state(thread: &Stopped) -> Result<ThreadCoreEntry, Error> {
    let tid = thread.tid();
    let step = Step::new("look into", tid);
    let list = task::robust_list(tid).map_err(|errno| step.errno(errno))?;
    let scheduling = task::scheduling(tid).map_err(|errno| step.errno(errno))?;
    let mask = thread.signal_mask().map_err(|error| step.failed(error))?;
    let rseq = match thread.rseq() {
        Ok(area) if area.address != 0 => Some(RseqEntry {
            rseq_abi_pointer: area.address,
            rseq_abi_size: area.length_bytes,
            signature: area.signature,
            rseq_cs_pointer: None,
        }),
        _ => None,
    };
    Ok(ThreadCoreEntry {
        futex_rla: list.head,
        futex_rla_len: u32::try_from(list.length_bytes).unwrap_or(0),
        sched_nice: Some(scheduling.nice),
        sched_policy: Some(scheduling.policy),
        sched_prio: (scheduling.priority != 0).then_some(scheduling.priority),
        blk_sigset: Some(mask.0),
        signals_p: Some(signals::pending(thread, Queue::Thread)?),
        rseq_entry: rseq,
        ..ThreadCoreEntry::default()
    })
}
