//! What belongs to a process: the fields of its memory, limits, working directory, signals, timers, who it is.

use super::crew::Member;
use super::files::Files;
use super::task::Task;
use super::transport::Transport;
use super::{credentials, seccomp, signals, threads, timers};
use crate::error::{Error, Step};
use crate::snapshot::Process;
use plimsoll_image::proto::{MmEntry, SeccompEntry, TaskCoreEntry};
use rustix::io::Errno;

/// Gives a process all that it has beside memory and descriptors.
pub(super) fn restore(
    member: &mut Member,
    process: &Process,
    transport: &Transport,
    files: &mut Files<'_>,
    filters: &SeccompEntry,
) -> Result<(), Error> {
    let socket = member.socket;
    let (Some(whole), Some(mm)) = (process.whole(), &process.mm) else {
        return Err(Error::inconsistent(format!(
            "process {} has no state",
            process.pid()
        )));
    };
    let leader = &mut member.leader;
    directories(leader, process, socket, transport, files)?;
    memory_fields(leader, mm, socket, transport, files)?;
    limits(leader, whole)?;
    settings(leader, whole, mm)?;
    signals::actions(leader, &whole.sigactions)?;
    for (task, (_, core)) in member.all().zip(&process.threads) {
        threads::register(task, core)?;
        if let Some(stack) = core
            .thread_core
            .as_ref()
            .and_then(|thread| thread.sas.as_ref())
        {
            signals::alternate_stack(task, stack)?;
        }
    }
    if let Some(queue) = &whole.signals_s {
        signals::pending(&mut member.leader, process.pid(), queue, true)?;
    }
    if let Some(set) = &whole.timers {
        timers::restore(&mut member.leader, set)?;
    }
    seccomp::restore(member, process, filters)?;
    for (task, (_, core)) in member.all().zip(&process.threads) {
        let Some(thread) = &core.thread_core else {
            continue;
        };
        if let Some(queue) = &thread.signals_p {
            signals::pending(task, process.pid(), queue, false)?;
        }
        if let Some(creds) = &thread.creds {
            credentials::restore(task, creds)?;
        }
        if let Some(signal) = thread.pdeath_sig {
            let args = [option(libc::PR_SET_PDEATHSIG), signal.into()];
            task.call("set the parent-death signal of", libc::SYS_prctl, args)?;
        }
    }
    // After the credentials, which reset it.
    let dumpable = mm.dumpable.unwrap_or(1);
    if dumpable == 0 || dumpable == 1 {
        let args = [
            option(libc::PR_SET_DUMPABLE),
            dumpable.unsigned_abs().into(),
        ];
        member
            .leader
            .call("say whether to dump", libc::SYS_prctl, args)?;
    }
    for (task, (_, core)) in member.all().zip(&process.threads) {
        threads::register_rseq(task, core)?;
    }
    Ok(())
}

/// Working directory, root, umask.
fn directories(
    task: &mut Task,
    process: &Process,
    socket: u32,
    transport: &Transport,
    files: &mut Files<'_>,
) -> Result<(), Error> {
    let Some(fs) = &process.fs else {
        return Ok(());
    };
    if !files.is_our_root(fs.root_id) {
        let root = files.get(fs.root_id)?;
        let number = transport.hand_over(task, socket, root)?;
        task.call("go to the root of", libc::SYS_fchdir, [number.into()])?;
        let at = task.argument(b".\0")?;
        task.call("change the root of", libc::SYS_chroot, [at])?;
        task.call("close a descriptor", libc::SYS_close, [number.into()])?;
    }
    let directory = files.get(fs.cwd_id)?;
    let number = transport.hand_over(task, socket, directory)?;
    task.call("change the directory of", libc::SYS_fchdir, [number.into()])?;
    task.call("close a descriptor", libc::SYS_close, [number.into()])?;
    if let Some(mask) = fs.umask {
        task.call("set the umask of", libc::SYS_umask, [mask.into()])?;
    }
    Ok(())
}

/// What `/proc/PID` shows of a process's memory: where its code, heap, arguments lie, and which program it is
/// (`prctl(2)`, `PR_SET_MM_MAP`).
fn memory_fields(
    task: &mut Task,
    mm: &MmEntry,
    socket: u32,
    transport: &Transport,
    files: &mut Files<'_>,
) -> Result<(), Error> {
    const PR_SET_MM: u64 = 35;
    const PR_SET_MM_MAP: u64 = 14;
    /// `struct prctl_mm_map`: eleven addresses, the vector's address, its length and the descriptor (one word).
    const MAP_BYTES: u64 = 104;
    let program = files.get(mm.exe_file_id)?;
    let number = transport.hand_over(task, socket, program)?;
    let at = task.scratch.0.start;
    let vector: Vec<u8> = mm
        .mm_saved_auxv
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let length = u32::try_from(vector.len()).unwrap_or(u32::MAX);
    let addresses = [
        mm.mm_start_code,
        mm.mm_end_code,
        mm.mm_start_data,
        mm.mm_end_data,
        mm.mm_start_brk,
        mm.mm_brk,
        mm.mm_start_stack,
        mm.mm_arg_start,
        mm.mm_arg_end,
        mm.mm_env_start,
        mm.mm_env_end,
        at + MAP_BYTES,
    ];
    let mut bytes: Vec<u8> = addresses.into_iter().flat_map(u64::to_ne_bytes).collect();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(vector);
    task.argument(&bytes)?;
    let args = [PR_SET_MM, PR_SET_MM_MAP, at, MAP_BYTES, 0];
    task.call("set the fields of memory of", libc::SYS_prctl, args)?;
    task.call("close a descriptor", libc::SYS_close, [number.into()])?;
    Ok(())
}

/// Limits that are not what we have, and it inherited.
fn limits(task: &mut Task, whole: &TaskCoreEntry) -> Result<(), Error> {
    let text = std::fs::read(format!("/proc/{}/limits", task.tid.as_raw_pid()))
        .map_err(|source| Error::file("read", "/proc/PID/limits", source))?;
    let present = crate::limits_of(&text)?;
    let wanted = whole.rlimits.iter().flat_map(|all| &all.rlimits);
    for (resource, (wanted, present)) in wanted.zip(&present).enumerate() {
        if wanted != present {
            let bytes = [wanted.cur.to_ne_bytes(), wanted.max.to_ne_bytes()].concat();
            let at = task.argument(&bytes)?;
            let args = [0, resource as u64, at, 0];
            task.call("set a limit of", libc::SYS_prlimit64, args)?;
        }
    }
    Ok(())
}

/// Small settings, each where it is not what a new task has.
fn settings(task: &mut Task, whole: &TaskCoreEntry, mm: &MmEntry) -> Result<(), Error> {
    let prctl = libc::SYS_prctl;
    if whole.personality != 0 {
        task.call(
            "set the personality of",
            libc::SYS_personality,
            [whole.personality.into()],
        )?;
    }
    if whole.child_subreaper == Some(true) {
        task.call(
            "make a subreaper of",
            prctl,
            [option(libc::PR_SET_CHILD_SUBREAPER), 1],
        )?;
    }
    if mm.thp_disabled == Some(true) {
        task.call(
            "disable huge pages of",
            prctl,
            [option(libc::PR_SET_THP_DISABLE), 1, 0, 0, 0],
        )?;
    }
    let barriers = whole.membarrier_registration_mask.unwrap_or(0);
    for command in (0..32)
        .map(|bit| 1u64 << bit)
        .filter(|command| u64::from(barriers) & command != 0)
    {
        task.call(
            "register barriers of",
            libc::SYS_membarrier,
            [command, 0, 0],
        )?;
    }
    login(task, whole)?;
    let pid = task.tid.as_raw_pid();
    if let Some(score) = whole.oom_score_adj {
        let path = format!("/proc/{pid}/oom_score_adj");
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        if present.trim().parse() != Ok(score) {
            std::fs::write(&path, score.to_string())
                .map_err(|source| Error::file("write", path, source))?;
        }
    }
    Ok(())
}

/// The user who logged in. Only a process itself may say that; to unsay it may be forbidden to all.
fn login(task: &mut Task, whole: &TaskCoreEntry) -> Result<(), Error> {
    const NOBODY: u32 = u32::MAX;
    let Some(wanted) = whole.loginuid else {
        return Ok(());
    };
    let present = std::fs::read_to_string(format!("/proc/{}/loginuid", task.tid.as_raw_pid()));
    if present.is_err() || present.is_ok_and(|text| text.trim().parse() == Ok(wanted)) {
        return Ok(());
    }
    let what = "set the login user of";
    let here = libc::AT_FDCWD.cast_unsigned().into();
    let at = task.argument(b"/proc/self/loginuid\0")?;
    let write = libc::O_WRONLY.unsigned_abs().into();
    let number = task.call(what, libc::SYS_openat, [here, at, write, 0])?;
    let text = wanted.to_string();
    let at = task.argument(text.as_bytes())?;
    let written = task.try_call(what, libc::SYS_write, [number, at, text.len() as u64])?;
    task.call("close a descriptor", libc::SYS_close, [number])?;
    match written {
        Err(errno) if wanted != NOBODY => Err(Step::new(what, task.tid).errno(errno)),
        _ => Ok(()),
    }
}

/// The name that `/proc/PID/comm` shows.
pub(super) fn set_name(task: &mut Task, name: &[u8]) -> Result<(), Error> {
    let step = Step::new("name", task.tid);
    let mut text = name.to_vec();
    text.truncate(15);
    if text.contains(&0) {
        return Err(step.errno(Errno::INVAL));
    }
    text.push(0);
    let at = task.argument(&text)?;
    task.call("name", libc::SYS_prctl, [option(libc::PR_SET_NAME), at])?;
    Ok(())
}

fn option(option: i32) -> u64 {
    u64::from(option.unsigned_abs())
}
