//! A thread that we trace and that runs.

use super::{Error, Exit, Stopped, Wait, request, status};
use linux_raw_sys::ptrace as p;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

bitflags::bitflags! {
    /// What the kernel shall report about a seized thread.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Options: u32 {
        /// Tell system call stops from a SIGTRAP.
        const SYSGOOD = p::PTRACE_O_TRACESYSGOOD;
        /// Processes and threads it makes are born seized and stopped: none escapes.
        const CHILDREN = p::PTRACE_O_TRACEFORK | p::PTRACE_O_TRACEVFORK | p::PTRACE_O_TRACECLONE;
        /// Report `execve(2)`, instead of the SIGTRAP of old.
        const EXEC = p::PTRACE_O_TRACEEXEC;
        /// Its seccomp filters sleep while it is traced; needs CAP_SYS_ADMIN (Linux 4.3).
        const SUSPEND_SECCOMP = p::PTRACE_O_SUSPEND_SECCOMP;
        /// It is killed when we die: only for what is of our own making and not finished yet, never for a target.
        const EXITKILL = p::PTRACE_O_EXITKILL;
    }
}

/// A seized thread that runs (or is about to stop by itself).
#[derive(Debug)]
#[must_use = "dropping it stops the thread for a moment to let it go"]
pub struct Running {
    pub(super) tid: Pid,
    pub(super) of_this_thread: PhantomData<*const ()>,
}

/// How long a wait looks again before it sleeps in between.
const LOOKING: Duration = Duration::from_micros(100);

/// A wait ran out of time: the thread still runs.
#[derive(Debug)]
pub struct WaitTimeout(pub Running);

/// The outcome of [`Running::stop`].
#[derive(Debug)]
pub enum Stop {
    /// It stands still ([`super::Event::is_standing`]).
    Stopped(Stopped),
    /// It is gone.
    Exited(Exit),
    /// It did not stop in time: it is deep in the kernel (`D`, or a parent waiting in `vfork(2)`).
    Busy(Running),
}

impl Running {
    /// `PTRACE_SEIZE`: traces a thread without stopping it.
    ///
    /// # Errors
    /// `EPERM`: somebody else traces it, or we may not (`ptrace(2)`, "Ptrace access mode checking").
    pub fn seize(tid: Pid, options: Options) -> Result<Self, Error> {
        request::plain("seize", p::PTRACE_SEIZE, tid, 0, options.bits() as usize)?;
        Ok(Self::born(tid))
    }

    /// The thread `tid`, which was born seized ([`Options::CHILDREN`]) and whose first stop nobody took yet.
    pub fn born(tid: Pid) -> Self {
        Self {
            tid,
            of_this_thread: PhantomData,
        }
    }

    /// The thread's id.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// `PTRACE_INTERRUPT`: asks it to stop; [`Running::wait`] sees it happen. Any other stop that comes first
    /// takes the request with it (`kernel/signal.c`, `ptrace_stop`), so ask again after such a one.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn interrupt(&self) -> Result<(), Error> {
        request::plain("interrupt", p::PTRACE_INTERRUPT, self.tid, 0, 0)
    }

    /// Waits until the thread stops or ends.
    ///
    /// # Errors
    /// None is known; the end of the thread is no error.
    pub fn wait(self) -> Result<Wait, Error> {
        match wait_raw(self.tid, WaitOptions::empty()) {
            Ok(Some(status)) => Ok(self.reported(status)),
            // Without WNOHANG there is always a status, or an error.
            Ok(None) | Err(Errno::CHILD) => Ok(self.vanished()),
            Err(errno) => Err(self.wait_failed(errno)),
        }
    }

    /// Waits at most this long.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn wait_for(self, timeout: Duration) -> Result<Result<Wait, WaitTimeout>, Error> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(5);
        loop {
            match wait_raw(self.tid, WaitOptions::NOHANG) {
                Ok(Some(status)) => return Ok(Ok(self.reported(status))),
                Ok(None) if begun.elapsed() >= timeout => return Ok(Err(WaitTimeout(self))),
                // Most waits are shorter than a sleep can be.
                Ok(None) if begun.elapsed() < LOOKING => {
                    std::thread::yield_now();
                    continue;
                }
                Ok(None) => std::thread::sleep(pause),
                Err(Errno::CHILD) => return Ok(Ok(self.vanished())),
                Err(errno) => return Err(self.wait_failed(errno)),
            }
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// Brings the thread to a stand where its registers are its own: interrupted, or stopped by job control.
    /// Signals that come first are delivered; children that it makes meanwhile are given to `born`.
    ///
    /// The kernel holds such a stop inside its signal delivery, before it decides how an interrupted system
    /// call goes on: registers that are changed and put back here leave that decision as it was.
    ///
    /// # Errors
    /// None is known; the end of the thread is no error.
    pub fn stop(mut self, timeout: Duration, mut born: impl FnMut(Self)) -> Result<Stop, Error> {
        let begun = Instant::now();
        loop {
            match self.interrupt() {
                Err(error) if error.is_gone() => {} // the wait below has the news
                asked => asked?,
            }
            let left = timeout.saturating_sub(begun.elapsed());
            let stopped = match self.wait_for(left)? {
                Ok(Wait::Stopped(stopped)) => stopped,
                Ok(Wait::Exited(exit)) => return Ok(Stop::Exited(exit)),
                Err(WaitTimeout(still)) => return Ok(Stop::Busy(still)),
            };
            if stopped.event().is_standing() {
                return Ok(Stop::Stopped(stopped));
            }
            if let Some(child) = stopped.child() {
                born(Self::born(child));
            }
            self = match stopped.resume() {
                Ok(running) => running,
                Err(error) if error.is_gone() => return Ok(Stop::Exited(Exit::Vanished)),
                Err(error) => return Err(error),
            };
        }
    }

    /// Lets go of a thread that runs, without the pause of a drop, when its tracer is about to end anyway.
    pub(super) fn forget(self) -> Pid {
        let tid = self.tid;
        std::mem::forget(self);
        tid
    }

    fn reported(self, raw: i32) -> Wait {
        let tid = self.forget();
        match status::decode(raw) {
            status::Status::Stopped(event) => Wait::Stopped(Stopped {
                tid,
                event,
                of_this_thread: PhantomData,
            }),
            status::Status::Exited(exit) => Wait::Exited(exit),
        }
    }

    fn vanished(self) -> Wait {
        self.forget();
        Wait::Exited(Exit::Vanished)
    }

    fn wait_failed(self, errno: Errno) -> Error {
        Error {
            operation: "wait for",
            tid: self.forget(),
            errno,
        }
    }
}

impl Drop for Running {
    /// Stops it for a moment, because only a stopped thread can be let go while its tracer lives on. A thread that
    /// won't stop now stays seized, and will stop once it leaves the kernel, until the kernel lets it go when
    /// our thread ends: a program that lives on does its surgery in a thread of its own.
    fn drop(&mut self) {
        let again = Self::born(self.tid);
        // A clone of `self` in all but name; `stop` consumes it, and what comes back busy must not land here again.
        match again.stop(Duration::from_millis(200), drop) {
            Ok(Stop::Stopped(stopped)) => drop(stopped),
            Ok(Stop::Busy(busy)) => {
                busy.forget();
            }
            Ok(Stop::Exited(_)) | Err(_) => {}
        }
    }
}

/// Reaps, as its tracer, a thread that is dying: bounded, for the end of a process is only told when all its
/// threads are gone.
pub(super) fn take_note_of_end(tid: Pid) {
    if let Ok(Err(WaitTimeout(still))) = Running::born(tid).wait_for(Duration::from_secs(1)) {
        still.forget();
    }
}

fn wait_raw(tid: Pid, options: WaitOptions) -> Result<Option<i32>, Errno> {
    // __WALL: threads that are no leaders are "clone children" to the kernel. Its value is 1 << 30.
    let all = WaitOptions::from_bits_retain(0x4000_0000);
    let status = rustix::io::retry_on_intr(|| waitpid(Some(tid), options | all))?;
    Ok(status.map(|(_, status)| status.as_raw()))
}
