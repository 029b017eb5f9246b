//! What brings a parked tree back by itself: input, time, a signal.
//!
//! A parked tree needs no plimsoll, and wakes for nothing. With [`WakeOn::Input`] one small process for all trees of a
//! user, the watcher ([`watch()`]), stands in for their threads: it holds duplicates (`pidfd_getfd(2)`) of the
//! descriptors that they sleep on and resumes a tree when one turns ready, when a long sleep is over, or when a signal
//! waits that somebody would take.
//!
//! ```text
//! before  where threads are, while they still run            reader
//! look    the sleeps of a stopped tree, as Waits             reader
//!   call    a call and its arguments -> what it waits for    pure
//!   epoll   what may be polled for an epoll instance         pure, and its reader
//!   words   a descriptor, as a person knows it               reader
//! pending whether a signal wakes                             pure, and its reader
//! watch   the watcher                                        actor
//! launch  that there is one                                  actor
//! ```
//!
//! What a tree waits for is written in its record, so a watcher that is killed is started again from the records
//! alone, and takes its duplicates anew from the frozen tree. Why it is built so: `docs/design/007-waking.md`.

mod before;
mod call;
mod epoll;
mod launch;
mod look;
mod pending;
mod slept;
mod watch;
mod words;

pub(crate) use before::Before;
pub use launch::{READY, Watching, ensure};
pub(crate) use look::waits;
pub use watch::watch;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Sleeps shorter than this are housekeeping (the tick of an event loop, of a garbage collector) and wake nobody:
/// honouring them would bring every server back at once.
pub const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// What wakes a parked tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeOn {
    /// What its threads sleep on, and signals.
    Input,
    /// Nothing but `plimsoll resume`.
    #[default]
    Never,
}

/// What the threads of a tree waited for when it was parked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Waits {
    /// Descriptors, each once for every process that sleeps on it.
    pub descriptors: Vec<Wait>,
    /// The first end of a sleep that is no housekeeping.
    pub deadline: Option<Deadline>,
    /// The shortest sleep that is housekeeping, in milliseconds, where there is one.
    pub housekeeping_ms: Option<u64>,
    /// Signals that are waited for by other means than a handler.
    pub signals: Vec<Signals>,
    /// Threads that were at work, or sleep in a call that is not known: what they wait for is not watched.
    pub unwatched_threads: u32,
}

/// A descriptor that is slept on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// In which process.
    pub pid: u32,
    /// Its number there.
    pub fd: i32,
    /// The events, as `epoll(7)` has them.
    pub events: u32,
    /// In words.
    pub what: String,
    /// Why it can't be watched, where it can't.
    pub unwatched: Option<String>,
}

/// Signals that a process takes by `sigwait(3)` or `signalfd(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Which process.
    pub pid: u32,
    /// Bit `n - 1` is signal `n`.
    pub mask: u64,
}

/// The clocks that sleeps are timed by (`clock_gettime(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// `CLOCK_MONOTONIC`
    Monotonic,
    /// `CLOCK_REALTIME`
    Realtime,
    /// `CLOCK_BOOTTIME`
    Boottime,
}

/// An instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Of which clock.
    pub clock: Clock,
    /// What it shows then, in nanoseconds.
    pub at_ns: u64,
}

impl Clock {
    /// The clock that has this number, alarm clocks counted with those that they follow.
    pub(crate) fn numbered(number: u64) -> Option<Self> {
        Some(match number {
            0 | 8 => Self::Realtime, // CLOCK_REALTIME_ALARM
            1 => Self::Monotonic,
            7 | 9 => Self::Boottime, // CLOCK_BOOTTIME_ALARM
            _ => return None,
        })
    }

    /// What it shows, in nanoseconds.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        let shown = clock_gettime(match self {
            Self::Monotonic => ClockId::Monotonic,
            Self::Realtime => ClockId::Realtime,
            Self::Boottime => ClockId::Boottime,
        });
        let word = |part: i64| u64::try_from(part).unwrap_or(0);
        let seconds_ns = word(shown.tv_sec).saturating_mul(1_000_000_000);
        seconds_ns.saturating_add(word(shown.tv_nsec))
    }
}

impl Deadline {
    /// How long until then; nothing when it is past.
    #[must_use]
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.at_ns.saturating_sub(self.clock.now_ns()))
    }
}
