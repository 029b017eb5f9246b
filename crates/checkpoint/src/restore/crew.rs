//! All tasks of a tree that is being made. Unless they are let go, they are ended: nothing of a failed restore stays.

use super::space;
use super::task::{SCRATCH_BYTES, Scratch, Task, once_free};
use super::transport::Transport;
use crate::error::{Error, Step};
use crate::fault_point::fault_point;
use crate::registers;
use crate::settable_signals;
use crate::snapshot::{Process, STOPPED, Snapshot};
use crate::vma::{Status, status};
use plimsoll_image::proto::CoreEntry;
use plimsoll_sys::Span;
use plimsoll_sys::blank::{self, Kinship};
use plimsoll_sys::ptrace::{Options, SignalMask, Stopped};
use plimsoll_units::PageSize;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::collections::{BTreeMap, BTreeSet};

/// A process that is being made.
#[derive(Debug)]
pub(crate) struct Member {
    /// The thread that executes what concerns the whole process.
    pub(crate) leader: Task,
    pub(crate) others: Vec<Task>,
    /// The number of the transport's end in it.
    pub(crate) socket: u32,
}

/// The tasks of a tree.
#[derive(Debug)]
pub(crate) struct Crew {
    members: BTreeMap<u32, Member>,
    top: Pid,
    let_go: bool,
}

impl Crew {
    /// Makes the root: a task with its pid, a bare address space, and no descriptor but the transport.
    pub(crate) fn begin(
        snapshot: &Snapshot,
        top: u32,
        kinship: Kinship,
        transport: &Transport,
        page_size: PageSize,
    ) -> Result<Self, Error> {
        let pid = i32::try_from(top).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::inconsistent(format!("{top} is no pid")))?;
        let scratch = scratch(snapshot)?;
        let socket = free_number(snapshot);
        let step = Step::new("make", pid);
        once_free(|| Ok(blank::spawn(pid, kinship)))?.map_err(|errno| step.errno(errno))?;
        let mut crew = Self {
            members: BTreeMap::new(),
            top: pid,
            let_go: false,
        };
        let mut leader = Task::seize(pid, scratch)?;
        leader.forget_rseq()?;
        let clear = [u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs()), 0];
        leader.call("clear the parent-death signal", libc::SYS_prctl, clear)?;
        space::make_bare(&mut leader, page_size)?;
        let inherited = transport.inherited();
        if inherited != socket {
            leader.call(
                "move a descriptor",
                libc::SYS_dup3,
                [inherited.into(), socket.into(), 0],
            )?;
        }
        for (first, last) in [(0, socket.checked_sub(1)), (socket + 1, Some(u32::MAX))] {
            if let Some(last) = last.filter(|last| first <= *last) {
                let range = [u64::from(first), u64::from(last), 0];
                leader.call("close descriptors", libc::SYS_close_range, range)?;
            }
        }
        crew.members.insert(
            top,
            Member {
                leader,
                others: Vec::new(),
                socket,
            },
        );
        Ok(crew)
    }

    /// A process of the tree.
    pub(crate) fn member(&mut self, pid: u32) -> Result<&mut Member, Error> {
        let missing = || Error::inconsistent(format!("process {pid} has no parent in the tree"));
        self.members.get_mut(&pid).ok_or_else(missing)
    }

    /// Another process joins.
    pub(crate) fn join(&mut self, pid: u32, leader: Task, socket: u32) {
        self.members.insert(
            pid,
            Member {
                leader,
                others: Vec::new(),
                socket,
            },
        );
    }

    /// Ends a process that was only there for others, and has its parent forget it.
    pub(crate) fn dismiss(&mut self, pid: u32, parent: u32) -> Result<(), Error> {
        self.member(pid)?.leader.end(0)?;
        self.members.remove(&pid);
        let args = [pid.into(), 0, 0, 0];
        let task = &mut self.member(parent)?.leader;
        task.call("reap a child of", libc::SYS_wait4, args)?;
        Ok(())
    }

    /// Ends the making: everything goes on where it was when it was checkpointed.
    pub(crate) fn let_go(mut self, snapshot: &Snapshot, stop_all: bool) -> Result<(), Error> {
        let mut ready: Vec<(Stopped, &CoreEntry)> = Vec::new();
        let mut tables = BTreeSet::new();
        for process in &snapshot.processes {
            let Some(member) = self.members.get_mut(&process.pid()) else {
                continue;
            };
            if process.mm.is_none() {
                continue;
            }
            member.withdraw(tables.insert(process.ids.files_id))?;
            if !has_vdso(process) {
                space::dismiss_kernel_mappings(&mut member.leader)?;
            }
            for (task, (_, core)) in member.all().zip(&process.threads) {
                ready.push((task.lay_down()?, core));
            }
        }
        for (stopped, core) in &ready {
            set_registers(stopped, core)?;
        }
        for process in &snapshot.processes {
            let stays = process.mm.is_some() && (stop_all || process.state() == STOPPED);
            if let Some(member) = self.members.get(&process.pid()).filter(|_| stays) {
                // Told again where it stood: it stops before it executes anything.
                let signal = stop_signal(snapshot, process).filter(|_| !stop_all);
                let _ = kill_process(member.leader.tid, signal.unwrap_or(Signal::STOP));
            }
        }
        fault_point("ready");
        // From here on the tree outlives us. The root's first thread comes last: were we to die before, its whole process would,
        // and all others that still have the mark; those without it would not. So nothing else is done in between.
        for (stopped, _) in ready.iter().rev() {
            let step = Step::new("let live", stopped.tid());
            let marked = stopped.set_options(Options::SYSGOOD);
            marked.map_err(|error| step.failed(error))?;
        }
        fault_point("committed");
        // Children before their parents, which may be waiting for them.
        for (stopped, _) in ready.into_iter().rev() {
            let step = Step::new("let go", stopped.tid());
            stopped.detach().map_err(|error| step.failed(error))?;
        }
        self.let_go = true;
        Ok(())
    }
}

impl Member {
    /// Its threads, the leader first.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Task> {
        std::iter::once(&mut self.leader).chain(&mut self.others)
    }

    /// Takes what is ours out of the process: the transport's end, once from each descriptor table, and the scratch pages.
    fn withdraw(&mut self, from_table: bool) -> Result<(), Error> {
        let Scratch(span) = self.leader.scratch;
        if from_table {
            let socket = [self.socket.into()];
            self.leader
                .call("close a descriptor", libc::SYS_close, socket)?;
        }
        self.leader.call(
            "unmap scratch memory",
            libc::SYS_munmap,
            [span.start, span.len()],
        )?;
        Ok(())
    }
}

fn has_vdso(process: &Process) -> bool {
    let mut vmas = process.mm.iter().flat_map(|mm| &mm.vmas);
    vmas.any(|vma| status(vma).contains(Status::VDSO))
}

/// The signal that a stopped process was stopped by, where it will stop it again: not if it has a handler, is held back, or
/// its group is orphaned (`setpgid(2)`), all of which may have come since.
fn stop_signal(snapshot: &Snapshot, process: &Process) -> Option<Signal> {
    let whole = process.whole()?;
    let number = i32::try_from(whole.stop_signo?).ok()?;
    let action = settable_signals()
        .zip(&whole.sigactions)
        .find(|(signal, _)| *signal == number);
    let handled = action.is_some_and(|(_, action)| action.sigaction != 0);
    let held_back = whole.blk_sigset >> number.checked_sub(1)? & 1 == 1;
    let stops = [Signal::TSTP, Signal::TTIN, Signal::TTOU];
    let signal = stops.into_iter().find(|signal| signal.as_raw() == number)?;
    let useless = handled || held_back || is_orphaned(snapshot, process.node.pgid);
    (!useless).then_some(signal)
}

/// Whether no process of a group has a parent in the same session and another group.
fn is_orphaned(snapshot: &Snapshot, group: u32) -> bool {
    let nodes = || snapshot.processes.iter().map(|process| &process.node);
    let mut members = nodes().filter(|node| node.pgid == group);
    !members.any(|member| {
        let mut parents = nodes().filter(|node| node.pid == member.ppid);
        parents.any(|parent| parent.sid == member.sid && parent.pgid != group)
    })
}

fn set_registers(stopped: &Stopped, core: &CoreEntry) -> Result<(), Error> {
    let step = Step::new("set the registers", stopped.tid());
    let info = core.thread_info.as_ref();
    let info = info.ok_or_else(|| Error::inconsistent("a thread has no registers"))?;
    let like = stopped.xstate().map_err(|error| step.failed(error))?;
    let vector = registers::vector_from_image(&info.fpregs, &like);
    let vector = vector.ok_or_else(|| step.errno(rustix::io::Errno::NOTSUP))?;
    stopped
        .set_xstate(&vector)
        .map_err(|error| step.failed(error))?;
    let general = registers::general_from_image(&info.gpregs);
    stopped
        .set_registers(&general)
        .map_err(|error| step.failed(error))?;
    let mask = core
        .thread_core
        .as_ref()
        .and_then(|thread| thread.blk_sigset);
    let mask = mask.or_else(|| core.tc.as_ref().map(|whole| whole.blk_sigset));
    let mask = SignalMask(mask.unwrap_or(0));
    stopped
        .set_signal_mask(mask)
        .map_err(|error| step.failed(error))
}

impl Drop for Crew {
    /// Children first, so that nobody sees the end of one who was never there.
    fn drop(&mut self) {
        if self.let_go {
            return;
        }
        for member in self.members.values() {
            let _ = kill_process(member.leader.tid, Signal::KILL);
        }
        let _ = kill_process(self.top, Signal::KILL);
        self.members.clear();
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.top), WaitOptions::empty()));
    }
}

/// Where the scratch pages lie: where no process of the tree maps anything, with room behind them for the vdso on its way.
fn scratch(snapshot: &Snapshot) -> Result<Scratch, Error> {
    const VDSO_ROOM: u64 = 256 << 10;
    let of = |process: &Process| {
        let vmas = process.mm.iter().flat_map(|mm| &mm.vmas);
        vmas.map(|vma| Span {
            start: vma.start,
            end: vma.end,
        })
        .collect::<Vec<_>>()
    };
    let taken = snapshot.processes.iter().flat_map(of);
    let hole = space::find_hole(taken, SCRATCH_BYTES + VDSO_ROOM);
    let hole = hole.ok_or_else(|| Error::inconsistent("no hole is left in the address space"))?;
    Ok(Scratch(Span::new(hole.start, SCRATCH_BYTES)))
}

/// The lowest number that no process of the tree has a descriptor by.
fn free_number(snapshot: &Snapshot) -> u32 {
    let taken: std::collections::BTreeSet<u32> = snapshot
        .tables
        .values()
        .flatten()
        .map(|entry| entry.fd)
        .collect();
    (3..u32::MAX)
        .find(|number| !taken.contains(number))
        .unwrap_or(u32::MAX)
}
