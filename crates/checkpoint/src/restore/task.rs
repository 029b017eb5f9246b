//! A thread of our own making, held by ptrace, that executes system calls for us: what a restored process is made with.
//!
//! Unlike a target's thread it has nothing to lose: should we die it is killed (`PTRACE_O_EXITKILL`), so that a
//! restore that fails leaves nobody behind. Arguments go through a few pages, [`Scratch`], at the same address in every
//! task of a tree; descriptors come in through a socket at the same number.

use crate::error::{Error, Step};
use plimsoll_sys::ptrace::{Options, Registers, Running, SignalMask, Stop, Stopped, Wait};
use plimsoll_sys::remote::{Calls, Room, Site, Syscall};
use plimsoll_sys::{Span, vm};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long a new task may take to get its number, and to come to its first stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every thread and process that a task makes is born held, and dies with us.
const OPTIONS: Options = Options::SYSGOOD
    .union(Options::CHILDREN)
    .union(Options::EXITKILL);

/// Pages in the address space of a task that are ours until the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scratch(pub(crate) Span);

/// What the pages hold at most of arguments.
pub(crate) const SCRATCH_BYTES: u64 = 64 << 10;

/// A thread that executes calls for us.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) tid: Pid,
    calls: Option<Calls>,
    /// The `syscall` instruction that it executes: the vdso's.
    site: Site,
    pub(crate) scratch: Scratch,
}

impl Task {
    /// Takes hold of a blank task ([`plimsoll_sys::blank`]).
    pub(crate) fn seize(tid: Pid, scratch: Scratch) -> Result<Self, Error> {
        let step = Step::new("take hold of", tid);
        let running = Running::seize(tid, OPTIONS).map_err(|error| step.failed(error))?;
        let stopped = match running
            .stop(PATIENCE, drop)
            .map_err(|error| step.failed(error))?
        {
            Stop::Stopped(stopped) => stopped,
            Stop::Exited(_) | Stop::Busy(_) => return Err(step.errno(Errno::SRCH)),
        };
        Self::hold(stopped, site(tid)?, scratch)
    }

    fn hold(stopped: Stopped, site: Site, scratch: Scratch) -> Result<Self, Error> {
        let mut task = Self {
            tid: stopped.tid(),
            calls: None,
            site,
            scratch,
        };
        task.take_up(stopped)?;
        Ok(task)
    }

    /// Prepares the stopped thread for calls.
    fn take_up(&mut self, stopped: Stopped) -> Result<(), Error> {
        let step = Step::new("take up", self.tid);
        let calls = Calls::begin(stopped, &self.site, Room::None);
        let calls = calls.map_err(|refused| step.failed(refused.why))?;
        self.calls = Some(calls.in_a_row());
        Ok(())
    }

    /// Executes a call; what the kernel refuses is an error that says `what` was tried.
    pub(crate) fn call<const N: usize>(
        &mut self,
        what: &'static str,
        number: libc::c_long,
        args: [u64; N],
    ) -> Result<u64, Error> {
        self.try_call(what, number, args)?
            .map_err(|errno| Step::new(what, self.tid).errno(errno))
    }

    /// Executes a call and gives what the kernel answered.
    pub(crate) fn try_call<const N: usize>(
        &mut self,
        what: &'static str,
        number: libc::c_long,
        args: [u64; N],
    ) -> Result<Result<u64, Errno>, Error> {
        let step = Step::new(what, self.tid);
        let calls = self.calls.as_mut().ok_or_else(|| step.errno(Errno::SRCH))?;
        calls
            .call(Syscall::new(number, args))
            .map_err(|error| step.failed(error))
    }

    /// Puts bytes where the next call can point to.
    pub(crate) fn argument(&self, bytes: &[u8]) -> Result<u64, Error> {
        self.write(self.scratch.0.start, bytes)?;
        Ok(self.scratch.0.start)
    }

    /// Its memory, which any thread of ours can reach.
    pub(crate) fn memory(&self) -> Memory {
        Memory(self.tid)
    }

    /// Writes into the task's memory.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory().write(address, bytes)
    }

    /// Reads the task's memory.
    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        self.memory().read(address, into)
    }

    /// Makes a process or thread, with the pid asked for; it is born held.
    pub(crate) fn clone_with(&mut self, flags: u64, pid: u32) -> Result<Self, Error> {
        // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        // set_tid_size, cgroup (clone(2)).
        let thread = flags & libc::CLONE_THREAD.unsigned_abs() as u64 != 0;
        let exit_signal = if thread {
            0
        } else {
            libc::SIGCHLD.unsigned_abs() as u64
        };
        let words = [
            flags,
            0,
            0,
            0,
            exit_signal,
            0,
            0,
            0,
            self.scratch.0.start + 88,
            1,
            0,
        ];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        bytes.extend(pid.to_ne_bytes());
        let at = self.argument(&bytes)?;
        let what = if thread {
            "make a thread of"
        } else {
            "make a child of"
        };
        let made = once_free(|| self.try_call(what, libc::SYS_clone3, [at, 88]))?;
        let made = made.map_err(|errno| Step::new(what, self.tid).errno(errno))?;
        let step = Step::new("wait for the first stop of", self.tid);
        let tid = i32::try_from(made).ok().and_then(Pid::from_raw);
        let tid = tid.ok_or_else(|| step.errno(Errno::SRCH))?;
        match Running::born(tid)
            .wait()
            .map_err(|error| step.failed(error))?
        {
            Wait::Stopped(stopped) => Self::hold(stopped, self.site, self.scratch),
            Wait::Exited(_) => Err(step.errno(Errno::SRCH)),
        }
    }

    /// Goes on with the `syscall` instruction at its new place, after the vdso was moved.
    pub(crate) fn vdso_moved(&mut self, from: u64, to: u64) -> Result<(), Error> {
        let stopped = self.lay_down()?;
        self.site = self.site.moved(from, to);
        self.take_up(stopped)
    }

    /// Forgets the restartable sequences that it was born with: they lie in memory that is about to go.
    pub(crate) fn forget_rseq(&mut self) -> Result<(), Error> {
        let stopped = self.lay_down()?;
        let area = stopped.rseq();
        self.take_up(stopped)?;
        let Some(area) = area.ok().filter(|area| area.address != 0) else {
            return Ok(());
        };
        const UNREGISTER: u64 = 1;
        let args = [
            area.address,
            area.length_bytes.into(),
            UNREGISTER,
            area.signature.into(),
        ];
        self.call("unregister restartable sequences of", libc::SYS_rseq, args)?;
        Ok(())
    }

    /// Lets seccomp filters sleep until it is let go.
    pub(crate) fn put_filters_to_sleep(&mut self) -> Result<(), Error> {
        let step = Step::new("put to sleep the filters of", self.tid);
        let stopped = self.lay_down()?;
        stopped
            .set_options(OPTIONS | Options::SUSPEND_SECCOMP)
            .map_err(|error| step.failed(error))?;
        self.take_up(stopped)
    }

    /// Ends the process as a wait status says: by an exit code, or by a signal.
    pub(crate) fn end(&mut self, status: u32) -> Result<(), Error> {
        let signal = i32::try_from(status & 0x7f).unwrap_or(0);
        if signal != 0 {
            let none = [libc::RLIMIT_CORE.into(), self.argument(&[0; 16])?, 0];
            self.call(
                "forbid core dumps of",
                libc::SYS_prlimit64,
                [0, none[0], none[1], none[2]],
            )?;
        }
        let step = Step::new("end", self.tid);
        let stopped = self.lay_down()?;
        if signal == 0 {
            let code = u64::from(status >> 8 & 0xff);
            let registers = stopped.registers().map_err(|error| step.failed(error))?;
            let exit = Syscall::new(libc::SYS_exit_group, [code]);
            let registers = Registers {
                rip: self.site.syscall(),
                ..registers.calling(exit)
            };
            stopped
                .set_registers(&registers)
                .map_err(|error| step.failed(error))?;
        } else {
            stopped
                .set_signal_mask(SignalMask(0))
                .map_err(|error| step.failed(error))?;
            let signal = Signal::from_named_raw(signal).ok_or_else(|| step.errno(Errno::INVAL))?;
            kill_process(self.tid, signal).map_err(|errno| step.errno(errno))?;
        }
        // SIGKILL waits for nobody: the thread may be gone before it is resumed.
        let mut running = resume_if_there(stopped).map_err(|error| step.failed(error))?;
        loop {
            running = match running.wait().map_err(|error| step.failed(error))? {
                Wait::Exited(_) => return Ok(()),
                Wait::Stopped(stopped) => {
                    resume_if_there(stopped).map_err(|error| step.failed(error))?
                }
            };
        }
    }

    /// Gives the stopped thread, with no more calls to come.
    pub(crate) fn lay_down(&mut self) -> Result<Stopped, Error> {
        let step = Step::new("lay down", self.tid);
        let calls = self.calls.take().ok_or_else(|| step.errno(Errno::SRCH))?;
        calls.finish().map_err(|error| step.failed(error))
    }
}

/// Lets a thread run on; one that was killed meanwhile has its end to tell.
fn resume_if_there(stopped: Stopped) -> Result<Running, plimsoll_sys::ptrace::Error> {
    let tid = stopped.tid();
    match stopped.resume() {
        Err(error) if error.is_gone() => Ok(Running::born(tid)),
        resumed => resumed,
    }
}

/// Makes a task with a number that is about to be free: the kernel gives it back a little after the last sign of who had it
/// is gone (`free_pids` comes last in `release_task`, behind `proc_flush_pid`).
pub(crate) fn once_free<T>(
    mut make: impl FnMut() -> Result<Result<T, Errno>, Error>,
) -> Result<Result<T, Errno>, Error> {
    let begun = Instant::now();
    loop {
        match make()? {
            Err(Errno::EXIST) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            made => return Ok(made),
        }
    }
}

/// The memory of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory(pub(crate) Pid);

impl Memory {
    pub(crate) fn write(self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let step = Step::new("write the memory", self.0);
        match vm::write(self.0, address, bytes) {
            Ok(done) if done == bytes.len() => Ok(()),
            Ok(_) => Err(step.errno(Errno::FAULT)),
            Err(errno) => Err(step.errno(errno)),
        }
    }

    pub(crate) fn read(self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        let step = Step::new("read the memory", self.0);
        let span = Span::new(address, into.len() as u64);
        match vm::read(self.0, &[span], into) {
            Ok(done) if done == into.len() => Ok(()),
            Ok(_) => Err(step.errno(Errno::FAULT)),
            Err(errno) => Err(step.errno(errno)),
        }
    }
}

/// The `syscall` instruction of a task's vdso.
fn site(tid: Pid) -> Result<Site, Error> {
    let step = Step::new("find the vdso", tid);
    let vdso = super::kernel_mappings::of(tid)?
        .into_iter()
        .filter(|mapping| mapping.is_vdso)
        .map(|mapping| mapping.span);
    Site::find(tid, vdso).map_err(|error| step.failed(error))
}
