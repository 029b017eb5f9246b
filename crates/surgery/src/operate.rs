//! System calls executed by a stopped process on our behalf, with what they need: an executing thread, memory for
//! arguments, seccomp filters asleep.
//!
//! The executing thread is the leader wherever it can be: its stack is the kernel's own making (`[stack]`), so the
//! frame that leads it home should we die fits below it for sure. Any other thread gets a small mapping for
//! that, made by a first call and unmapped by the last; or, where many threads are to execute calls, one that the leader
//! makes for all of them ([`Ground::lend`]).

mod aside;

use crate::stop::StoppedProcess;
use plimsoll_proc::process::maps::{self, Perms};
use plimsoll_proc::process::status::{self, Status};
use plimsoll_proc::{ReadError, Root};
use plimsoll_sys::ptrace::{self, Options, Stopped};
use plimsoll_sys::remote::{self, Calls, Room, Site, Syscall};
use plimsoll_sys::{Span, vm};
use rustix::io::Errno;
use rustix::process::Pid;

/// Why a process can't execute calls for us. It stands still as before.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The call could not be made.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// A ptrace request failed.
    #[error(transparent)]
    Ptrace(#[from] ptrace::Error),
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The call was made, and the kernel refused it.
    #[error("process {pid} cannot {what}")]
    Refused {
        /// In which process.
        pid: u32,
        /// What was tried there, as a verb.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        errno: Errno,
    },
    /// Its seccomp filters might deny or kill a call that is not its own.
    #[error(
        "process {pid} runs under seccomp filters, and putting them to sleep needs CAP_SYS_ADMIN (run as root)"
    )]
    Seccomp {
        /// Which process.
        pid: u32,
    },
    /// It has no thread left.
    #[error("process {pid} has no thread that could execute a call")]
    NoThread {
        /// Which process.
        pid: u32,
    },
}

/// A process that executes calls for us. When this is dropped, scratch memory is unmapped, and the thread stands
/// where it stood.
#[derive(Debug)]
pub struct Operation<'p> {
    process: &'p mut StoppedProcess,
    /// Where its thread stood in the list of threads.
    place: usize,
    calls: Option<Calls>,
    site: Site,
    /// Of our own making in the target: arguments from its beginning, the frame at its end.
    scratch: Option<Span>,
    /// It was there before, and stays.
    lent: bool,
}

/// Length of scratch memory: room for a frame with the largest vector state, and as much for arguments.
const SCRATCH_BYTES: u64 = 32 << 10;
/// The part of it that arguments may fill.
const ARGUMENT_BYTES: u64 = 8 << 10;

impl<'p> Operation<'p> {
    /// Prepares a process for calls.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn begin(root: &Root, process: &'p mut StoppedProcess) -> Result<Self, OperateError> {
        let ground = Ground::of(root, process.name.pid)?;
        Self::by(&ground, process, 0)
    }

    /// The same, by the thread at this place of the list: for what a thread can only be asked itself.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn by(
        ground: &Ground,
        process: &'p mut StoppedProcess,
        place: usize,
    ) -> Result<Self, OperateError> {
        let pid = process.name.pid;
        let thread = match process.threads.get(place) {
            Some(_) => process.threads.remove(place),
            None => return Err(OperateError::NoThread { pid }),
        };
        // Of each thread: they may have other filters than their leader.
        if !sleeps_filters(&thread) && ground.filtered {
            process.threads.insert(place, thread);
            return Err(OperateError::Seccomp { pid });
        }
        let mut operation = Self {
            process,
            place,
            calls: None,
            site: ground.site,
            scratch: ground.lent,
            lent: ground.lent.is_some(),
        };
        let room = operation.prepare(thread, ground)?;
        if room == Room::None && ground.site.has_way_home() {
            // Its stack is none of the kernel's making. One call without a net, and the others have one.
            let span = operation.scratch()?;
            let thread = operation.lay_down()?;
            operation.enlist(thread, ground, Room::Own(span))?;
        }
        Ok(operation)
    }

    /// Whether the process goes on unharmed when we are killed in the middle of a call.
    #[must_use]
    pub fn survives_us(&self) -> bool {
        self.calls.as_ref().is_some_and(Calls::survives_us)
    }

    /// Which process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.name.pid
    }

    /// Executes a call; the kernel's refusal is an error that says `what` was tried.
    ///
    /// # Errors
    /// [`OperateError::Refused`]; [`OperateError::Remote`] when it could not be made.
    pub fn call(&mut self, what: &'static str, call: Syscall) -> Result<u64, OperateError> {
        let pid = self.pid();
        self.try_call(call)?
            .map_err(|errno| OperateError::Refused { pid, what, errno })
    }

    /// Executes a call and gives what the kernel answered.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn try_call(&mut self, call: Syscall) -> Result<Result<u64, Errno>, OperateError> {
        let pid = self.pid();
        let calls = self.calls.as_mut().ok_or(OperateError::NoThread { pid })?;
        Ok(calls.call(call)?)
    }

    /// Puts up to 8 KiB where the next call can point to; gives the address. Valid until the next time.
    ///
    /// # Errors
    /// When no memory could be mapped, or not written.
    pub fn argument(&mut self, bytes: &[u8]) -> Result<u64, OperateError> {
        let span = self.scratch()?;
        let tid = self.tid()?;
        let failed = |errno| remote::Error::Memory {
            operation: "write an argument",
            tid,
            address: span.start,
            errno,
        };
        if bytes.len() as u64 > ARGUMENT_BYTES {
            return Err(failed(Errno::TOOBIG).into());
        }
        let done = vm::write(tid, span.start, bytes).map_err(failed)?;
        if done != bytes.len() {
            return Err(failed(Errno::FAULT).into());
        }
        Ok(span.start)
    }

    /// Reads what a call left at the address that [`Operation::argument`] gave.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn answer(&mut self, into: &mut [u8]) -> Result<(), OperateError> {
        let span = self.scratch()?;
        let tid = self.tid()?;
        let failed = |errno| remote::Error::Memory {
            operation: "read an answer",
            tid,
            address: span.start,
            errno,
        };
        let whole = Span::new(span.start, into.len() as u64);
        match vm::read(tid, &[whole], into) {
            Ok(done) if done == into.len() => Ok(()),
            Ok(_) => Err(failed(Errno::FAULT).into()),
            Err(errno) => Err(failed(errno).into()),
        }
    }

    fn tid(&self) -> Result<Pid, OperateError> {
        let calls = self.calls.as_ref();
        calls
            .map(Calls::tid)
            .ok_or(OperateError::NoThread { pid: self.pid() })
    }

    fn scratch(&mut self) -> Result<Span, OperateError> {
        if let Some(span) = self.scratch {
            return Ok(span);
        }
        let span = self.map_scratch()?;
        self.scratch = Some(span);
        Ok(span)
    }

    fn map_scratch(&mut self) -> Result<Span, OperateError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let word = |flags: i32| u64::from(flags.unsigned_abs());
        let args = [0, SCRATCH_BYTES, word(protection), word(flags), u64::MAX, 0];
        let at = self.call("map scratch memory", Syscall::new(libc::SYS_mmap, args))?;
        Ok(Span::new(at, SCRATCH_BYTES))
    }

    fn unmap(&mut self, span: Span) -> Result<(), OperateError> {
        let unmap = Syscall::new(libc::SYS_munmap, [span.start, span.len()]);
        self.call("unmap scratch memory", unmap).map(drop)
    }

    /// Enlists a thread with the best net there is.
    fn prepare(&mut self, thread: Stopped, ground: &Ground) -> Result<Room, OperateError> {
        let rsp = thread.registers().map(|registers| registers.rsp);
        let room = match (rsp, ground.stack) {
            (Ok(rsp), Some(stack)) if stack.contains(rsp) => Room::Stack(stack.start),
            _ => ground.lent.map_or(Room::None, Room::Own),
        };
        self.enlist(thread, ground, room)?;
        Ok(if self.survives_us() { room } else { Room::None })
    }

    fn enlist(&mut self, thread: Stopped, ground: &Ground, room: Room) -> Result<(), OperateError> {
        let room = match room {
            Room::Own(span) => Room::Own(Span {
                start: span.start.saturating_add(ARGUMENT_BYTES),
                ..span
            }),
            other => other,
        };
        match Calls::begin(thread, &ground.site, room) {
            Ok(calls) => {
                self.calls = Some(calls);
                Ok(())
            }
            Err(refused) => {
                self.process.threads.insert(self.place, refused.thread);
                Err(refused.why.into())
            }
        }
    }

    fn lay_down(&mut self) -> Result<Stopped, OperateError> {
        let pid = self.pid();
        let calls = self.calls.take().ok_or(OperateError::NoThread { pid })?;
        Ok(calls.finish()?)
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.scratch.take().filter(|_| !self.lent) {
            // The frame of the last call may lie in it: that call returns by registers that we set, not by it.
            let _ = self.unmap(span);
        }
        if let Ok(thread) = self.lay_down() {
            let _ = thread.set_options(crate::stop::OPTIONS); // filters awake again
            self.process.threads.insert(self.place, thread);
        }
    }
}

/// Puts a thread's filters to sleep; they wake when it is let go, or when we die.
fn sleeps_filters(thread: &Stopped) -> bool {
    let options = crate::stop::OPTIONS | Options::SUSPEND_SECCOMP;
    thread.set_options(options).is_ok()
}

/// What has to be known of a process before it can be operated on; valid as long as it stands still.
#[derive(Debug)]
pub struct Ground {
    site: Site,
    /// The kernel-made stack of the leader.
    stack: Option<Span>,
    filtered: bool,
    /// Scratch memory for all threads.
    lent: Option<Span>,
}

impl Ground {
    /// Looks for the borrowed instructions of a process, its stack and its filters.
    ///
    /// # Errors
    /// When `/proc` can't be read, or no instruction is found.
    pub fn of(root: &Root, pid: u32) -> Result<Self, OperateError> {
        let text = root.read(format!("proc/{pid}/maps"))?;
        let mut executable = Vec::new();
        let mut stack = None;
        for mapping in maps::parse(&text).flatten() {
            let span = Span {
                start: mapping.start,
                end: mapping.end,
            };
            if mapping.raw_name == b"[stack]" {
                stack = Some(span);
            }
            // A file's, or the vdso: what is read there needs nobody to bring it in. `[vsyscall]` can't be read.
            let readable = Perms::READ | Perms::EXEC;
            let known = mapping.inode != 0 || mapping.raw_name == b"[vdso]";
            if mapping.perms.contains(readable) && known {
                executable.push(span);
            }
        }
        let status = root.read(format!("proc/{pid}/status"))?;
        let features = status::field(&status, b"x86_Thread_features").unwrap_or_default();
        let raw = Pid::from_raw(i32::try_from(pid).unwrap_or_default());
        let target = raw.ok_or(OperateError::NoThread { pid })?;
        // libc and the loader lie high, and have all that is wanted.
        let site = Site::find(target, executable.into_iter().rev())?;
        Ok(Self {
            site: if features.starts_with(b"shstk") {
                site.without_way_home()
            } else {
                site
            },
            stack,
            filtered: Status::parse(&status).is_ok_and(|status| status.seccomp.unwrap_or(0) != 0),
            lent: None,
        })
    }

    /// Has the leader map scratch memory for all threads that will execute calls, until it is [taken
    /// back](Ground::take_back): none of their calls is without a net then, if the leader's are not.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn lend(&mut self, process: &mut StoppedProcess) -> Result<(), OperateError> {
        let mut operation = Operation::by(self, process, 0)?;
        let span = operation.scratch()?;
        operation.lent = true;
        drop(operation);
        self.lent = Some(span);
        Ok(())
    }

    /// Unmaps what was lent.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn take_back(&mut self, process: &mut StoppedProcess) -> Result<(), OperateError> {
        if self.lent.is_none() {
            return Ok(());
        }
        let mut operation = Operation::by(self, process, 0)?;
        // Its drop unmaps it.
        operation.lent = false;
        self.lent = None;
        Ok(())
    }
}
