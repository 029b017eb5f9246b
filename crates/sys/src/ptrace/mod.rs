//! `ptrace(2)` as states that are consumed: [`Running`] -> [`Stopped`] -> [`Running`].
//!
//! Nearly every ptrace request is legal only while its thread is in a ptrace stop, and which stop it is
//! decides what may follow. So a stop is a value: [`Running::wait`] takes the running thread and gives back
//! a stopped one (or the news that it died, which is a normal outcome), and only a stopped one has registers.
//! A signal that was on its way to the thread when it stopped travels in the [`Stopped`] and is delivered
//! when that is resumed, so no caller can lose one by forgetting it.
//!
//! Threads are always taken with `PTRACE_SEIZE`: no SIGSTOP is sent, job control stays visible. `EXITKILL`
//! is never set for a target: when this program dies, the kernel lets every thread run on. Both states detach on drop.
//!
//! A tracee belongs to the thread that seized it, so neither state is `Send`.

mod interrupted;
mod registers;
mod request;
mod running;
mod siginfo;
mod status;
mod stopped;
mod syscall_info;

pub use registers::{Registers, XState};
pub use running::{Options, Running, Stop, WaitTimeout};
pub use siginfo::{Queue, SigInfo};
pub use status::{Event, Exit, Wait};
pub use stopped::{RseqConfiguration, SeccompFilter, SignalMask, Stopped};
pub use syscall_info::SyscallInfo;

use rustix::io::Errno;
use rustix::process::Pid;

/// A ptrace request failed: what was tried, on which thread, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} thread {}", tid.as_raw_pid())]
pub struct Error {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which thread.
    pub tid: Pid,
    /// What the kernel said.
    #[source]
    pub errno: Errno,
}

impl Error {
    /// Whether the thread is gone.
    ///
    /// `ESRCH` has three meanings in `ptrace(2)`: no such thread, not traced by the caller, not stopped. The
    /// types rule out the last two, so the thread was killed under our hands. `ECHILD` of a wait is the
    /// same news for a thread that vanished because another one of its process called `execve(2)`.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.errno, Errno::SRCH | Errno::CHILD)
    }

    /// Whether more privilege would have helped.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.errno, Errno::PERM | Errno::ACCESS)
    }
}
