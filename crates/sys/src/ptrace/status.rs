//! What a wait reports: `ptrace(2)`, "Stopped states", decoded once and for all.

use super::Stopped;
use linux_raw_sys::ptrace as p;

/// The outcome of waiting for a running thread.
#[derive(Debug)]
pub enum Wait {
    /// It is in a ptrace stop.
    Stopped(Stopped),
    /// It is gone.
    Exited(Exit),
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit(2)` with this status.
    Code(i32),
    /// This signal killed it.
    Killed(i32),
    /// It vanished: reaped elsewhere, or swallowed by another thread's `execve(2)`.
    Vanished,
}

/// Which ptrace stop a thread is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Our `PTRACE_INTERRUPT`, or the first stop of a thread that was born seized.
    Interrupted,
    /// Its process is stopped by job control (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU).
    GroupStop(i32),
    /// This signal is about to be delivered; resuming the thread delivers it.
    SignalDelivery(i32),
    /// Entering or leaving a system call ([`Stopped::syscall_info`] tells which).
    Syscall,
    /// It made a process or thread, which is born seized and will stop by itself
    /// ([`Stopped::event_message`] is its id).
    Fork,
    /// It called `execve(2)`; the event message is its former thread id.
    Exec,
    /// Some other `PTRACE_EVENT_*`.
    Other(i32),
}

impl Event {
    /// On the way into or out of a system call.
    #[must_use]
    pub fn is_syscall(self) -> bool {
        self == Self::Syscall
    }

    /// A stop that leaves the thread's registers its own and no signal in flight.
    #[must_use]
    pub fn is_standing(self) -> bool {
        matches!(self, Self::Interrupted | Self::GroupStop(_))
    }
}

/// A wait status, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Stopped(Event),
    Exited(Exit),
}

/// Decodes what `waitpid(2)` gave for a seized thread with `PTRACE_O_TRACESYSGOOD`.
pub(super) fn decode(raw: i32) -> Status {
    let (low, signal) = (raw & 0x7f, (raw >> 8) & 0xff);
    match low {
        0 => Status::Exited(Exit::Code(signal)),
        0x7f => Status::Stopped(stop(signal, raw >> 16)),
        killed_by => Status::Exited(Exit::Killed(killed_by)),
    }
}

fn stop(signal: i32, event: i32) -> Event {
    match u32::try_from(event).unwrap_or_default() {
        0 if signal == libc::SIGTRAP | 0x80 => Event::Syscall,
        0 => Event::SignalDelivery(signal),
        p::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Event::Interrupted,
        p::PTRACE_EVENT_STOP => Event::GroupStop(signal),
        p::PTRACE_EVENT_FORK | p::PTRACE_EVENT_VFORK | p::PTRACE_EVENT_CLONE => Event::Fork,
        p::PTRACE_EVENT_EXEC => Event::Exec,
        _ => Event::Other(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_stop_is_told_apart() {
        let stopped = |event: i32, signal: i32| event << 16 | signal << 8 | 0x7f;
        for (raw, status) in [
            (0x0300, Status::Exited(Exit::Code(3))),
            (9, Status::Exited(Exit::Killed(9))),
            (0x80 | 11, Status::Exited(Exit::Killed(11))), // dumped core
            (
                stopped(128, libc::SIGTRAP),
                Status::Stopped(Event::Interrupted),
            ),
            (
                stopped(128, libc::SIGTSTP),
                Status::Stopped(Event::GroupStop(libc::SIGTSTP)),
            ),
            (
                stopped(0, libc::SIGTRAP | 0x80),
                Status::Stopped(Event::Syscall),
            ),
            (
                stopped(0, libc::SIGTRAP),
                Status::Stopped(Event::SignalDelivery(libc::SIGTRAP)),
            ),
            (
                stopped(0, libc::SIGSTOP),
                Status::Stopped(Event::SignalDelivery(libc::SIGSTOP)),
            ),
            (stopped(2, libc::SIGTRAP), Status::Stopped(Event::Fork)),
            (stopped(4, libc::SIGTRAP), Status::Stopped(Event::Exec)),
            (stopped(6, libc::SIGTRAP), Status::Stopped(Event::Other(6))),
        ] {
            assert_eq!(decode(raw), status, "{raw:#x}");
        }
    }
}
