//! What belongs to a process and not to one of its threads: signal actions, timers, limits, the fields of its memory.

use super::files::Files;
use super::{calls, credentials, signals, threads, timers};
use crate::error::{Error, Step};
use crate::snapshot::{self, Process};
use plimsoll_image::proto::{
    CoreEntry, MmEntry, SignalQueueEntry, TaskCoreEntry, TaskRlimitsEntry, TaskTimersEntry,
    core_entry::March,
};
use plimsoll_proc::Root;
use plimsoll_proc::process::stat;
use plimsoll_proc::process::status::{Status, field};
use plimsoll_proc::text::number;
use plimsoll_surgery::operate::{Ground, Operation};
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_sys::ptrace::{Event, Queue};
use plimsoll_sys::remote::Syscall;

/// `MEMBARRIER_CMD_GET_REGISTRATIONS` (Linux 6.3).
const GET_REGISTRATIONS: u64 = 1 << 9;

/// Threads and everything that the leader's image says of the process; and what has to be asked of its memory.
pub(super) fn look(
    root: &Root,
    standing: &mut StoppedProcess,
    process: &mut Process,
) -> Result<Asked, Error> {
    let mut ground = Ground::of(root, standing.name.pid)?;
    ground.lend(standing)?;
    let looked = look_by(root, &ground, standing, process);
    let returned = ground.take_back(standing);
    let asked = looked?;
    returned?;
    Ok(asked)
}

/// What only the process itself can tell of its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    heap_end: u64,
    dumpable: u64,
}

fn look_by(
    root: &Root,
    ground: &Ground,
    standing: &mut StoppedProcess,
    process: &mut Process,
) -> Result<Asked, Error> {
    let pid = standing.name.pid;
    for place in 0..standing.threads.len() {
        let core = threads::look(root, ground, standing, place)?;
        let tid = standing
            .threads
            .get(place)
            .map_or(0, |thread| thread.tid().as_raw_pid());
        process.threads.push((tid.unsigned_abs(), core));
    }
    let (whole, asked) = whole(root, ground, standing)?;
    match process.threads.first_mut() {
        Some((tid, core)) if *tid == pid => core.tc = Some(whole),
        _ => {
            return Err(Error::inconsistent(format!(
                "the first thread of process {pid} has ended"
            )));
        }
    }
    Ok(asked)
}

fn whole(
    root: &Root,
    ground: &Ground,
    standing: &mut StoppedProcess,
) -> Result<(TaskCoreEntry, Asked), Error> {
    let pid = standing.name.pid;
    let read = |file: &str| root.read(format!("proc/{pid}/{file}"));
    let status = read("status")?;
    let parsed = Status::parse(&status).map_err(|_| Error::NoProcess(pid))?;
    let stat_line = read("stat")?;
    let asked = parsed.signals.ignored | parsed.signals.caught;
    let mut operation = Operation::by(ground, standing, 0)?;
    let sigactions = signals::actions(&mut operation, asked)?;
    let timers = timers::look(root, &mut operation)?;
    let subreaper = option(&mut operation, libc::PR_GET_CHILD_SUBREAPER)?;
    let barriers = operation.try_call(Syscall::new(libc::SYS_membarrier, [GET_REGISTRATIONS]))?;
    let get_dumpable = [u64::from(libc::PR_GET_DUMPABLE.unsigned_abs())];
    let asked = Asked {
        heap_end: operation.call("read the end of the heap", Syscall::new(libc::SYS_brk, [0]))?,
        dumpable: operation.call(
            "ask whether it may be dumped",
            Syscall::new(libc::SYS_prctl, get_dumpable),
        )?,
    };
    drop(operation);
    let leader = standing.threads.first().ok_or(Error::NoProcess(pid))?;
    let mask = leader
        .signal_mask()
        .map_err(|error| Step::new("look into", leader.tid()).failed(error))?;
    let stopped = match leader.event() {
        Event::GroupStop(signal) => Some(signal.unsigned_abs()),
        _ => None,
    };
    let hexadecimal = |file| {
        read(file)
            .ok()
            .and_then(|text| plimsoll_proc::text::hex(text.trim_ascii()))
    };
    let whole_number = |file| read(file).ok().and_then(|text| number(text.trim_ascii()));
    let whole = TaskCoreEntry {
        task_state: stopped.map_or(snapshot::ALIVE, |_| snapshot::STOPPED),
        stop_signo: stopped,
        personality: hexadecimal("personality")
            .and_then(|bits| u32::try_from(bits).ok())
            .unwrap_or(0),
        flags: stat::field(&stat_line, 9)
            .and_then(number)
            .and_then(|bits| u32::try_from(bits).ok())
            .unwrap_or(0),
        blk_sigset: mask.0,
        comm: parsed.name,
        timers: Some(timers),
        rlimits: Some(TaskRlimitsEntry {
            rlimits: credentials::limits(&read("limits")?)?,
        }),
        signals_s: Some(signals::pending(leader, Queue::Process)?),
        loginuid: whole_number("loginuid").and_then(|id| u32::try_from(id).ok()),
        oom_score_adj: read("oom_score_adj").ok().and_then(|text| signed(&text)),
        sigactions,
        // Kernels before 6.3 don't tell.
        membarrier_registration_mask: barriers
            .ok()
            .and_then(|mask| u32::try_from(mask).ok())
            .filter(|mask| *mask != 0),
        child_subreaper: Some(subreaper != [0; 4]),
        ..TaskCoreEntry::default()
    };
    Ok((whole, asked))
}

/// A process that has ended and was not waited for: all that is left is its name and how it ended.
pub(super) fn zombie(root: &Root, pid: u32) -> Result<CoreEntry, Error> {
    let line = root.read(format!("proc/{pid}/stat"))?;
    let parsed = stat::Stat::parse(&line).map_err(|_| Error::NoProcess(pid))?;
    let exit_code = stat::field(&line, 52)
        .and_then(number)
        .and_then(|code| u32::try_from(code).ok());
    Ok(CoreEntry {
        mtype: March::X8664.into(),
        tc: Some(TaskCoreEntry {
            task_state: snapshot::DEAD,
            exit_code: exit_code.unwrap_or(0),
            comm: parsed.comm,
            timers: Some(TaskTimersEntry::default()),
            signals_s: Some(SignalQueueEntry::default()),
            ..TaskCoreEntry::default()
        }),
        ..CoreEntry::default()
    })
}

/// The fields of `mm_entry` besides the mappings.
pub(super) fn memory_fields(
    root: &Root,
    pid: u32,
    asked: Asked,
    mut mm: MmEntry,
    files: &mut Files,
) -> Result<MmEntry, Error> {
    let line = root.read(format!("proc/{pid}/stat"))?;
    let address = |n| stat::field(&line, n).and_then(number).unwrap_or(0);
    mm.mm_start_code = address(26);
    mm.mm_end_code = address(27);
    mm.mm_start_stack = address(28);
    mm.mm_start_data = address(45);
    mm.mm_end_data = address(46);
    mm.mm_start_brk = address(47);
    mm.mm_arg_start = address(48);
    mm.mm_arg_end = address(49);
    mm.mm_env_start = address(50);
    mm.mm_env_end = address(51);
    let auxv = root.read(format!("proc/{pid}/auxv"))?;
    let (pairs, _) = auxv.as_chunks::<16>();
    // Up to AT_NULL: CRIU has room for no more.
    let pairs = pairs.iter().take_while(|pair| !pair.starts_with(&[0; 8]));
    mm.mm_saved_auxv = pairs
        .flat_map(|pair| [calls::word(pair, 0), calls::word(pair, 1)])
        .collect();
    mm.exe_file_id = files.program(root, pid)?;
    let status = root.read(format!("proc/{pid}/status"))?;
    mm.thp_disabled = Some(field(&status, b"THP_enabled") == Some(b"0"));
    mm.mm_brk = asked.heap_end;
    mm.dumpable = i32::try_from(asked.dumpable).ok();
    Ok(mm)
}

/// A `prctl(2)` that writes an int.
fn option(operation: &mut Operation<'_>, option: i32) -> Result<[u8; 4], Error> {
    let option = u64::from(option.unsigned_abs());
    super::calls::ask(operation, "ask prctl", libc::SYS_prctl, |at| {
        [option, at, 0, 0, 0, 0]
    })
}

fn signed(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
