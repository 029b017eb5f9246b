//! Single system calls executed by a stopped thread on our behalf: no code is injected.
//!
//! ```text
//! Interrupted --registers set--> Interrupted' --runs--> entry --> exit --interrupt--> Interrupted' --registers put back--> Interrupted
//! ```
//!
//! Before and after every call the thread is in the same stop with its own registers and signal mask. That stop
//! lies *inside* the kernel's signal delivery, before it decides how an interrupted system call goes on; since
//! the registers that it decides by (`rax`, `orig_rax`, `rip`) are put back there, the thread's own sleep
//! restarts as if nothing had been (`nanosleep(2)`, `futex(2)` and `poll(2)` with their remaining time). Signals
//! that arrive meanwhile are blocked for the length of one call and keep waiting in their queue. A restartable
//! sequence that the stop cut through is aborted, as the kernel would have done (see [`rseq`]).
//!
//! **Should we die between the two changes of registers**, the kernel lets the thread run on with ours. So they
//! are chosen to lead home: the `syscall` that it executes is followed by `ret`, to `rt_sigreturn(2)`, whose
//! frame, written before, holds its own registers, mask and vector state (see [`frame`]). Whatever instant we
//! are killed at, the call is done once or not at all, and the thread goes on. [`Calls::survives_us`] says
//! whether that net is up; without it the window is one call, 10 to 50 us.

mod aside;
mod calls;
mod frame;
mod rseq;
mod site;

pub use aside::Aside;
pub use calls::{Calls, Refused, Room};
pub use site::{Site, Syscall};

use crate::ptrace;
use rustix::io::Errno;
use rustix::process::Pid;
use std::time::Duration;

/// A remote call could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thread died, before, in or after the call.
    #[error("thread {} died", tid.as_raw_pid())]
    Died {
        /// Which.
        tid: Pid,
    },
    /// A ptrace request failed.
    #[error(transparent)]
    Ptrace(#[from] ptrace::Error),
    /// Its memory could not be read or written.
    #[error("cannot {operation} at {address:#x} of thread {}", tid.as_raw_pid())]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// Of which thread.
        tid: Pid,
        /// Where.
        address: u64,
        /// What the kernel said.
        #[source]
        errno: Errno,
    },
    /// No executable mapping holds a `syscall` instruction.
    #[error("process {} has no syscall instruction in any executable mapping", pid.as_raw_pid())]
    NoSyscallInstruction {
        /// Which process.
        pid: Pid,
    },
    /// The call was kept from finishing by signals, again and again.
    #[error("a system call in thread {} was interrupted {times} times", tid.as_raw_pid())]
    Interrupted {
        /// Which thread.
        tid: Pid,
        /// How often it was tried.
        times: u32,
    },
    /// A call did not come to an end in time; the thread was let go, and comes out of it by itself.
    #[error("thread {} is stuck in the kernel: a call was not over within {} s (a disk or network file system that does not answer?)", tid.as_raw_pid(), waited.as_secs())]
    Stuck {
        /// Which thread.
        tid: Pid,
        /// How long was waited.
        waited: Duration,
    },
    /// The kernel reported another system call than ours.
    #[error("thread {} went into another system call than was asked", tid.as_raw_pid())]
    Astray {
        /// Which thread.
        tid: Pid,
    },
}

impl Error {
    /// Whether the thread is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Died { .. } => true,
            Self::Ptrace(error) => error.is_gone(),
            Self::Memory { errno, .. } => *errno == Errno::SRCH,
            _ => false,
        }
    }
}
