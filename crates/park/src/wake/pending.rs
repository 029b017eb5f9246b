//! Whether a signal waits that a parked process would take (`signal(7)`): a server that is told to end should.
//!
//! Nothing tells of a signal sent to a frozen process, so its `status` is read again and again. What it would not hear
//! of is never queued by the kernel; what all its threads block waits for ever, unless somebody takes it by
//! `sigwait(3)` or `signalfd(2)`.

use plimsoll_proc::process::status::{Signals, Status};
use plimsoll_proc::{ReadError, Root};
use plimsoll_surgery::tree::threads;

/// What is known of a parked process beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asleep {
    /// Job control had stopped it: it takes nothing but SIGKILL.
    pub(super) stopped: bool,
    /// Signals that it takes though it blocks them.
    pub(super) awaited: u64,
}

const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// Whether the process has a signal to take. One that is gone has none.
pub(super) fn wakes(root: &Root, pid: u32, asleep: Asleep) -> bool {
    let of = |path: String| -> Result<Option<Signals>, ReadError> {
        let text = root.read(path)?;
        Ok(Status::parse(&text).ok().map(|status| status.signals))
    };
    let Ok(Some(leader)) = of(format!("proc/{pid}/status")) else {
        return false;
    };
    decide(leader, asleep, || {
        let others = threads(root, pid).unwrap_or_default().into_iter();
        let status = |tid: rustix::process::Pid| {
            of(format!("proc/{pid}/task/{}/status", tid.as_raw_pid())).ok()?
        };
        // Blocked by the process is what each of its threads blocks.
        others
            .filter_map(status)
            .fold(u64::MAX, |all, one| all & one.blocked)
    })
}

/// `blocked_by_all` is asked for only where it matters.
fn decide(leader: Signals, asleep: Asleep, blocked_by_all: impl FnOnce() -> u64) -> bool {
    let waiting = leader.pending | leader.shared_pending;
    if waiting & KILL != 0 {
        return true;
    }
    if asleep.stopped {
        return false;
    }
    let taken = |blocked: u64| waiting & (asleep.awaited | !(blocked | leader.ignored));
    taken(leader.blocked) != 0 || (waiting != 0 && taken(blocked_by_all()) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: u64 = 1 << 14;
    const USR1: u64 = 1 << 9;
    const RUNS: Asleep = Asleep {
        stopped: false,
        awaited: 0,
    };

    fn shared(shared_pending: u64) -> Signals {
        Signals {
            shared_pending,
            ..Signals::default()
        }
    }

    #[test]
    fn a_signal_wakes_who_would_take_it() {
        let nobody = || -> u64 { unreachable!("nothing else matters") };
        assert!(!decide(shared(0), RUNS, nobody));
        assert!(decide(shared(TERM), RUNS, nobody));
        let ignored = Signals {
            ignored: TERM,
            ..shared(TERM)
        };
        assert!(!decide(ignored, RUNS, || 0));
        let blocked = Signals {
            blocked: TERM | USR1,
            ..shared(TERM)
        };
        assert!(!decide(blocked, RUNS, || TERM));
        assert!(decide(blocked, RUNS, || USR1), "another thread takes it");
        let awaited = Asleep {
            awaited: TERM,
            ..RUNS
        };
        assert!(decide(blocked, awaited, || TERM), "by sigwait");
        let of_the_thread = Signals {
            pending: USR1,
            ..Signals::default()
        };
        assert!(decide(of_the_thread, RUNS, nobody));
    }

    #[test]
    fn what_job_control_stopped_takes_only_sigkill() {
        let stopped = Asleep {
            stopped: true,
            ..RUNS
        };
        assert!(!decide(shared(TERM), stopped, || 0));
        assert!(decide(shared(TERM | KILL), stopped, || 0));
    }
}
