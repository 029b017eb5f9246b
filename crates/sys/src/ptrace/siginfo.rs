//! Queued signals, looked at without being taken.

use super::{Error, request};
use linux_raw_sys::ptrace::{PTRACE_PEEKSIGINFO_SHARED, ptrace_peeksiginfo_args};
use rustix::process::Pid;

/// A `siginfo_t` as the kernel keeps it: 128 bytes, to be queued again with `rt_sigqueueinfo(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SigInfo([u8; 128]);

impl SigInfo {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 128] {
        &self.0
    }

    /// The signal's number (`si_signo`).
    #[must_use]
    pub fn signal(&self) -> i32 {
        let [a, b, c, d, ..] = self.0;
        i32::from_ne_bytes([a, b, c, d])
    }
}

/// Whose queue is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Signals for this thread.
    Thread,
    /// Signals for its whole process.
    Process,
}

/// Signals asked for at a time.
const BATCH: usize = 32;

pub(super) fn peek(tid: Pid, queue: Queue) -> Result<Vec<SigInfo>, Error> {
    let mut all = Vec::new();
    loop {
        let args = ptrace_peeksiginfo_args {
            off: all.len() as u64,
            flags: if queue == Queue::Process {
                PTRACE_PEEKSIGINFO_SHARED
            } else {
                0
            },
            nr: 32, // BATCH, in the kernel's type
        };
        let mut batch = [SigInfo([0; 128]); BATCH];
        let found = request::peek_siginfo(tid, &args, &mut batch)?;
        all.extend(batch.iter().take(found));
        if found < BATCH {
            return Ok(all);
        }
    }
}
