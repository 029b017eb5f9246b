//! What is remembered of a workload from one moment to the next: how it grows, since when it is idle, what was tried.

use super::act::WhyNot;
use crate::config::{Policy, Rung};
use crate::observation::{Deed, Ended, Id, Observation, Outcome, Standing, Workload};
use plimsoll_units::Bytes;

/// The most workloads that are known at a time; of more, those that come first are.
pub const MOST_WORKLOADS: usize = 256;

/// Of a thousand parts of a processor's time: who uses less than this is idle. Event loops and runtimes tick.
const BUSY_PERMILLE: u64 = 10;

/// Who has done nothing for so long is idle, as far as pressure goes.
pub(super) const IDLE_MS: u64 = 5000;

/// What it held this long ago, roughly, is what it had before it grew.
const MEMORY_MS: u64 = 30_000;

/// How often one may come back and have to be taken down again, before freezing it counts as tried.
const MOST_RETURNS: u8 = 3;
/// Within which time.
const RETURNS_MS: u64 = 600_000;

/// What was refused is not asked for again before this: what stands in the way rarely goes, but a disk may be made room on.
const REFUSED_MS: u64 = 600_000;

/// Who was asked to end and is there after this goes on as before.
const ASKED_MS: u64 = 30_000;

/// What is remembered of one workload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) id: Id,
    /// Its rule, by place.
    pub(super) rule: Option<usize>,
    /// When it was seen last.
    seen_ms: u64,
    /// When it last was busy, or first seen.
    busy_ms: u64,
    cpu_us: u64,
    held: Bytes,
    /// What it held before, followed slowly.
    before: Bytes,
    /// Whether this is the first look at it, and there were others before.
    pub(super) appears: bool,
    /// How much more it gets in a second.
    pub(super) growth: Bytes,
    /// When a rung was tried last.
    tried_ms: [Option<u64>; Rung::ALL.len()],
    /// When a rung was found not to be possible with it.
    refused_ms: [Option<u64>; Rung::ALL.len()],
    /// When it began to stand still in memory.
    pub(super) frozen_ms: Option<u64>,
    /// How often it came back lately, and since when that is counted.
    returns: u8,
    returns_from_ms: u64,
    /// When it was taken down last, and whether it was idle then.
    down_ms: u64,
    pub(super) was_idle: bool,
    /// What it had when it was taken down: what it will want when it comes back.
    pub(super) wants: Bytes,
    /// Whether it was out of memory when it was seen last, and when it came back.
    was_parked: bool,
    back_ms: Option<u64>,
}

/// What it holds that can't be dropped, wherever it is.
pub(super) fn held(workload: &Workload) -> Bytes {
    workload.anon_bytes + workload.swap_bytes
}

impl Known {
    fn new(policy: &Policy, workload: &Workload, at_ms: u64) -> Self {
        Self {
            id: workload.id,
            rule: policy.rule_for(workload.name.as_str()),
            seen_ms: at_ms,
            busy_ms: at_ms,
            cpu_us: workload.cpu_us,
            held: held(workload),
            before: held(workload),
            wants: held(workload),
            // Who is stopped when it is seen first was stopped by a guard that is gone.
            was_idle: workload.was_idle,
            ..Self::default()
        }
    }

    fn learn(&mut self, workload: &Workload, at_ms: u64) {
        let ms = at_ms.saturating_sub(self.seen_ms);
        if ms == 0 {
            return;
        }
        self.appears = false;
        let used_us = workload.cpu_us.saturating_sub(self.cpu_us);
        if used_us.checked_div(ms).unwrap_or(0) >= BUSY_PERMILLE {
            self.busy_ms = at_ms;
        }
        let now = held(workload);
        let is_parked = workload.standing == Standing::Parked;
        if self.was_parked && !is_parked {
            self.back_ms = Some(at_ms);
        }
        self.was_parked = is_parked;
        let lately = self
            .back_ms
            .is_some_and(|then| at_ms.saturating_sub(then) < MEMORY_MS);
        if workload.standing == Standing::Running {
            // What it had comes back by and by: that is not growth.
            let had = if lately { self.wants } else { Bytes::ZERO };
            let grown = (now - self.held.max(had)).get().saturating_mul(1000);
            let rate = grown.checked_div(ms).unwrap_or(0);
            // A rate halves within a second or so; a new one counts at once.
            let kept = self
                .growth
                .get()
                .saturating_mul(1000_u64.saturating_sub(ms.min(500)))
                / 1000;
            self.growth = Bytes(rate.max(kept));
            self.before = towards(self.before, now, ms);
            self.wants = now.max(had);
        }
        match workload.standing {
            Standing::Frozen => _ = self.frozen_ms.get_or_insert(at_ms),
            _ => self.frozen_ms = None,
        }
        self.cpu_us = workload.cpu_us;
        self.held = now;
        self.seen_ms = at_ms;
    }

    /// How long it has been idle.
    pub(super) fn idle_ms(&self, at_ms: u64) -> u64 {
        at_ms.saturating_sub(self.busy_ms)
    }

    /// What it got lately.
    pub(super) fn grown(&self) -> Bytes {
        self.held - self.before
    }

    pub(super) fn try_now(&mut self, rung: Rung, at_ms: u64) {
        if let Some(tried) = self.tried_ms.get_mut(rung.place()) {
            *tried = Some(at_ms);
        }
        if matches!(rung, Rung::Freeze | Rung::Park) {
            self.was_idle = self.rests(at_ms);
            self.down_ms = at_ms;
        }
    }

    /// Whether it is idle. Parking makes it work a little, and one that is frozen can't: of that what it was before counts.
    pub(super) fn rests(&self, at_ms: u64) -> bool {
        match self.frozen_ms {
            None => self.idle_ms(at_ms) >= IDLE_MS,
            Some(_) => self.was_idle,
        }
    }

    /// Notes that it comes back.
    pub(super) fn come_back(&mut self, at_ms: u64) {
        if at_ms.saturating_sub(self.returns_from_ms) > RETURNS_MS {
            (self.returns, self.returns_from_ms) = (0, at_ms);
        }
        self.returns = self.returns.saturating_add(1);
    }

    /// When it may come back: the more often it had to be taken down again, the later.
    fn may_return_at_ms(&self, first_wait_ms: u64) -> u64 {
        let doubled = 1_u64 << self.returns.min(8);
        self.down_ms
            .saturating_add(first_wait_ms.saturating_mul(doubled))
    }

    /// Whether it has stood still for so long, longer each time that it had to be taken down again.
    pub(super) fn has_waited(&self, at_ms: u64, first_wait_ms: u64) -> bool {
        at_ms >= self.may_return_at_ms(first_wait_ms)
    }

    /// Why a rung is not tried now because of what became of it before.
    pub(super) fn why_not(&self, rung: Rung, at_ms: u64, retry_ms: u64) -> Option<WhyNot> {
        let refused = self.refused_ms.get(rung.place()).copied().flatten();
        if refused.is_some_and(|then| at_ms.saturating_sub(then) < REFUSED_MS) {
            return Some(WhyNot::Refused);
        }
        if rung == Rung::Freeze {
            return (self.returns >= MOST_RETURNS).then_some(WhyNot::TriedBefore);
        }
        let tried = self.tried_ms.get(rung.place()).copied().flatten()?;
        (at_ms.saturating_sub(tried) < retry_ms).then_some(WhyNot::TriedBefore)
    }

    /// Whether a rung was tried so recently.
    pub(super) fn tried_within(&self, rung: Rung, at_ms: u64, ms: u64) -> bool {
        let tried = self.tried_ms.get(rung.place()).copied().flatten();
        tried.is_some_and(|tried| at_ms.saturating_sub(tried) < ms)
    }

    fn hear(&mut self, outcome: &Outcome, at_ms: u64) {
        let Deed::Rung(rung) = outcome.of else { return };
        match outcome.ended {
            Ended::Refused => {
                if let Some(refused) = self.refused_ms.get_mut(rung.place()) {
                    *refused = Some(at_ms);
                }
            }
            // It can be done again as soon as it is wanted again.
            Ended::Done if rung == Rung::Park => {
                if let Some(tried) = self.tried_ms.get_mut(rung.place()) {
                    *tried = None;
                }
            }
            Ended::Done | Ended::Failed | Ended::Overdue | Ended::OnlySaid => {}
        }
    }
}

/// Follows a value, so that after [`MEMORY_MS`] most of the way is gone.
fn towards(from: Bytes, to: Bytes, ms: u64) -> Bytes {
    let part = |way: Bytes| {
        let gone = u128::from(way.get()) * u128::from(ms.min(MEMORY_MS)) / u128::from(MEMORY_MS);
        Bytes(u64::try_from(gone).unwrap_or(u64::MAX))
    };
    if to >= from {
        from + part(to - from)
    } else {
        from - part(from - to)
    }
}

/// All that are known.
#[derive(Debug)]
pub(super) struct AllKnown {
    known: Vec<Known>,
    /// Whether there was a moment before: who was not there then is new.
    begun: bool,
}

impl AllKnown {
    pub(super) fn new() -> Self {
        Self {
            known: Vec::with_capacity(MOST_WORKLOADS),
            begun: false,
        }
    }

    /// Brings all forward to a moment, and forgets those that are gone; gives what those held.
    pub(super) fn learn(&mut self, policy: &Policy, seen: &Observation) -> Bytes {
        for (place, workload) in seen.workloads.iter().enumerate() {
            if let Some(known) = self.find(workload.id, place) {
                known.learn(workload, seen.at_ms);
            } else if self.known.len() < MOST_WORKLOADS {
                let mut known = Known::new(policy, workload, seen.at_ms);
                // A process may only be new among the largest.
                if self.begun && matches!(workload.id, Id::Group(_)) {
                    known.before = Bytes::ZERO;
                    known.appears = true;
                }
                self.known.push(known);
            }
        }
        self.begun = true;
        for outcome in &seen.outcomes {
            if let Some(known) = self.find(outcome.id, 0) {
                known.hear(outcome, seen.at_ms);
            }
        }
        let mut gone = Bytes::ZERO;
        self.known.retain(|known| {
            let is_there = known.seen_ms == seen.at_ms;
            if !is_there {
                gone += known.held;
            }
            is_there
        });
        gone
    }

    /// How long ago somebody who is still there was asked to end; the last, and none that was asked long ago.
    pub(super) fn asked_to_end(&self, at_ms: u64) -> Option<u64> {
        let asked = |known: &Known| known.tried_ms.get(Rung::Stop.place()).copied().flatten();
        let ago = self.known.iter().filter_map(asked);
        ago.map(|then| at_ms.saturating_sub(then))
            .filter(|ms| *ms < ASKED_MS)
            .min()
    }

    /// One; most are where they were the last time.
    pub(super) fn find(&mut self, id: Id, near: usize) -> Option<&mut Known> {
        if self.known.get(near).is_some_and(|known| known.id == id) {
            return self.known.get_mut(near);
        }
        self.known.iter_mut().find(|known| known.id == id)
    }

    pub(super) fn get(&self, id: Id, near: usize) -> Option<&Known> {
        match self.known.get(near) {
            Some(known) if known.id == id => Some(known),
            _ => self.known.iter().find(|known| known.id == id),
        }
    }
}
