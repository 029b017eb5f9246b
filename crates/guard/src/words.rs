//! Acts and outcomes in plain words, a line each. Formatting allocates nothing: it goes wherever the caller has room.

use crate::config::Rung;
use crate::decider::{Act, Level, Reason, Whom, WhyNot};
use crate::observation::{Cause, Deed, Ended, Hold, Outcome};
use std::fmt;

/// What is done, as an order.
const fn doing(deed: Deed) -> &'static str {
    match deed {
        Deed::Thaw => "let run again",
        Deed::Resume => "bring back",
        Deed::Rung(Rung::Reclaim) => "drop the caches of",
        Deed::Rung(Rung::PageOut) => "page out",
        Deed::Rung(Rung::Freeze) => "freeze",
        Deed::Rung(Rung::Park) => "park",
        Deed::Rung(Rung::Checkpoint) => "checkpoint and end",
        Deed::Rung(Rung::Stop) => "ask to end",
        Deed::Rung(Rung::Kill) => "kill",
    }
}

impl WhyNot {
    /// In plain words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Spared => "it is spared",
            Self::WithinItsGuarantee => "it is within its guarantee",
            Self::NotBadEnough => "it is not that bad",
            Self::TriedBefore => "that was tried just now",
            Self::Refused => "that can't be done to it",
            Self::NotWorthIt => "that would bring too little",
            Self::NoSwap => "there is no room in swap",
            Self::NoFreezer => "there is no freezer for it",
            Self::NotRunning => "it stands still already",
            Self::AtWork => "it is at work and would fetch it all back",
            Self::NotGrowing => "it is not what grows",
            Self::TooSlow => "that would take too long",
            Self::GentlerComesFirst => "something gentler comes first",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Some(whom) => whom_words(f, whom, &self.reason),
            None => {
                f.write_str("nothing can be done: every workload is spared, or has been taken as far as its ladder goes; ")?;
                sign(f, &self.reason)
            }
        }
    }
}

fn whom_words(f: &mut fmt::Formatter<'_>, whom: &Whom, reason: &Reason) -> fmt::Result {
    write!(f, "{} {}", doing(whom.deed), whom.name)?;
    if let Some(hold) = &whom.hold {
        write!(f, " ({hold})")?;
    }
    let standing = &whom.standing;
    match (whom.deed, whom.cause) {
        (Deed::Thaw | Deed::Resume, _) => {
            return write!(
                f,
                ": {} is available, {} is asked",
                reason.available_bytes, reason.marks.enough_bytes
            );
        }
        (_, Cause::Idle) => return write!(f, ": idle for {} s", standing.idle_ms / 1000),
        (_, Cause::Pressure) => f.write_str(": ")?,
    }
    sign(f, reason)?;
    write!(f, "; it holds {} over its guarantee", standing.excess_bytes)?;
    if standing.grown_bytes.get() > 0 {
        write!(f, ", {} of it new", standing.grown_bytes)?;
    }
    if standing.idle_ms >= 1000 {
        write!(f, ", and has been idle for {} s", standing.idle_ms / 1000)?;
    }
    for passed in reason.passed_over.iter().flatten() {
        write!(f, "; no {}: {}", passed.rung.name(), passed.because.words())?;
    }
    if let Some(next) = reason.runners_up.iter().flatten().next() {
        write!(f, "; next would have been {}", next.name)?;
    }
    Ok(())
}

fn sign(f: &mut fmt::Formatter<'_>, reason: &Reason) -> fmt::Result {
    write!(
        f,
        "{} ({} available, low is {}, floor {}; stalls {} and {} per mille",
        reason.sign.words(),
        reason.available_bytes,
        reason.marks.low_bytes,
        reason.marks.floor_bytes,
        reason.rates.some_permille,
        reason.rates.full_permille,
    )?;
    match reason.exhausted_in_ms {
        Some(ms) if reason.level > Level::Calm => write!(f, "; used up in {ms} ms)"),
        _ => f.write_str(")"),
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "hold {}: {} of RAM, {} of swap, limits met {} times",
            self.name, self.ram_bytes, self.swap_bytes, self.limit_hits
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = match self.ended {
            Ended::Done => "done",
            Ended::Refused => "refused",
            Ended::Failed => "failed",
            Ended::Overdue => "given up",
            Ended::OnlySaid => "only said",
        };
        write!(
            f,
            "to {}: {ended} after {} ms",
            doing(self.of),
            self.took_ms
        )?;
        if self.freed_bytes.get() > 0 {
            write!(f, ", {} left memory", self.freed_bytes)?;
        }
        Ok(())
    }
}
