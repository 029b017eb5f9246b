//! An act, or the refusal to act, with everything that it rests on: inputs, marks, the choice, and what was passed over.

use super::gauge::Rates;
use super::level::{Level, Marks, Sign};
use crate::config::{Extent, Rung};
use crate::name::Name;
use crate::observation::{Cause, Deed, Hold, Id};
use plimsoll_units::Bytes;
use serde::Serialize;

/// How many runners-up are told.
pub const RUNNERS_UP: usize = 3;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Act {
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// To whom; `None` where nothing can be done though something should.
    pub whom: Option<Whom>,
    /// Because of what.
    pub reason: Reason,
}

/// What is done to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Whom {
    /// Which workload.
    pub id: Id,
    /// Its name.
    pub name: Name,
    /// The hold that it is in.
    pub hold: Option<Hold>,
    /// What is done to it.
    pub deed: Deed,
    /// What made it necessary.
    pub cause: Cause,
    /// Whether it is idle, or was when it was stopped.
    pub was_idle: bool,
    /// What `kill` would mean.
    pub extent: Extent,
    /// Its rule, by place in the configuration.
    pub rule: Option<usize>,
    /// How it stood beside the others.
    pub standing: Score,
    /// What is expected to leave memory.
    pub expected_bytes: Bytes,
}

/// What an act rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How bad it is.
    pub level: Level,
    /// What says so.
    pub sign: Sign,
    /// `MemAvailable`
    pub available_bytes: Bytes,
    /// `SwapFree`
    pub swap_free_bytes: Bytes,
    /// What these are held against.
    #[serde(flatten)]
    pub marks: Marks,
    /// The last seconds.
    #[serde(flatten)]
    pub rates: Rates,
    /// In how long available memory will be gone.
    pub exhausted_in_ms: Option<u64>,
    /// What has to leave.
    pub need_bytes: Bytes,
    /// Who else there was, best first.
    pub runners_up: [Option<RunnerUp>; RUNNERS_UP],
    /// Why the one that was chosen was not taken by each other rung of its ladder.
    pub passed_over: [Option<PassedOver>; Rung::ALL.len()],
}

/// A rung that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Which.
    pub rung: Rung,
    /// Why.
    pub because: WhyNot,
}

/// Another that could have been chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunnerUp {
    /// Its name.
    pub name: Name,
    /// By which rung.
    pub rung: Rung,
    /// How it stood.
    pub standing: Score,
}

/// What is weighed of a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Its owner asks that others go first.
    pub avoid: bool,
    /// The lower goes first.
    pub priority: i8,
    /// It was at work and stands still: the memory of who is idle leaves first.
    pub waits: bool,
    /// What it holds over its guarantee.
    pub excess_bytes: Bytes,
    /// What it got lately.
    pub grown_bytes: Bytes,
    /// How long it has been idle.
    pub idle_ms: u64,
    /// The sum of it: the higher goes first, among equals in the first two.
    pub points: u64,
}

impl Score {
    /// Whether this one goes before another.
    #[must_use]
    pub fn goes_before(&self, other: &Self) -> bool {
        let key = |score: &Self| {
            let points = std::cmp::Reverse(score.points);
            (score.avoid, score.priority, score.waits, points)
        };
        key(self) < key(other)
    }
}

/// Why a rung is not taken with a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// It is shielded, or marked to be left alone.
    Spared,
    /// It holds no more than it was guaranteed.
    WithinItsGuarantee,
    /// It is not that bad.
    NotBadEnough,
    /// It was tried, and that is not long ago.
    TriedBefore,
    /// It can't be done to this one.
    Refused,
    /// It would free too little.
    NotWorthIt,
    /// There is no room in swap.
    NoSwap,
    /// There is no freezer for it.
    NoFreezer,
    /// It stands still already, or is parked.
    NotRunning,
    /// It is at work and would fetch it all back.
    AtWork,
    /// It is not what grows.
    NotGrowing,
    /// It would take longer than there is time.
    TooSlow,
    /// Something gentler can still be done, or is under way.
    GentlerComesFirst,
}
