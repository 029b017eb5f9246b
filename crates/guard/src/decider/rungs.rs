//! What each rung of the ladder would bring with one workload, or why it is not taken.

use super::act::{Score, WhyNot};
use super::known::{IDLE_MS, Known, held};
use super::level::{Level, Marks};
use crate::config::{Policy, Rung};
use crate::observation::{Host, Mark, Standing, Workload};
use plimsoll_units::Bytes;

/// What a checkpoint writes in a second, at least: twice that on the development host (`docs/benchmarks.md`), and a host under
/// pressure is slower.
const WRITTEN_A_SECOND: u64 = 150 << 20;

/// For how many seconds a workload that grows is reckoned to go on.
const GROWS_ON_S: u64 = 10;

/// Who has used no processor for so long does not grow, whatever it got before.
const STILL_MS: u64 = 2000;

/// What leaves by parking, in hundredths: stacks, files and what is locked stay.
const PARKED_PERCENT: u64 = 90;

/// It is asked to end, and has this long, before it is killed.
pub(super) const STOP_GRACE_MS: u64 = 3000;

/// What the rungs are weighed against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'s> {
    pub(super) policy: &'s Policy,
    pub(super) at_ms: u64,
    pub(super) level: Level,
    pub(super) host: &'s Host,
    pub(super) marks: &'s Marks,
    pub(super) exhausted_in_ms: Option<u64>,
    /// Whether pages that are dropped are wanted again at once.
    pub(super) thrashing: bool,
    /// Whether room is made for work that stands still, which then is not where it comes from.
    pub(super) for_who_waits: bool,
    /// Whether all that is gentler has been done, with everybody.
    pub(super) nothing_gentler: bool,
}

impl Scene<'_> {
    /// Less than this is not worth an act.
    fn worth(&self) -> Bytes {
        Bytes((self.host.total_bytes.get() / 200).max(1 << 20))
    }

    fn is_grower(&self, known: &Known) -> bool {
        let total = self.host.total_bytes.get();
        let at_work = known.idle_ms(self.at_ms) < STILL_MS;
        // At the first look there is no rate yet: by the second, who is fast has all there is.
        let much = if known.appears {
            total / 200
        } else {
            total / 20
        };
        known.growth.get() >= total / 200 || (at_work && known.grown().get() >= much)
    }

    /// How a workload stands for a rung.
    pub(super) fn score(&self, workload: &Workload, known: &Known, rung: Rung) -> Score {
        let rule = self.policy.rule(known.rule);
        let guarantee = rule
            .map_or(Bytes::ZERO, |rule| rule.guarantee.0)
            .max(workload.guarantee_bytes);
        let excess = held(workload) - guarantee;
        let idle_ms = known.idle_ms(self.at_ms);
        let grown = known.grown();
        let points = match rung {
            // Who is to stand still, or to end: who has too much, and above all who got it lately.
            Rung::Freeze | Rung::Stop | Rung::Kill => {
                excess.get().saturating_add(grown.get().saturating_mul(3))
            }
            // Whose memory is to leave: the longer idle, the less it is missed; and who grows stands still by it.
            _ => {
                let minutes = (idle_ms / 60_000).min(10);
                let idle = u64::from(idle_ms >= IDLE_MS);
                let weight = minutes
                    .saturating_add(1)
                    .saturating_add(idle.saturating_mul(2));
                // One that is frozen grows no more: it can wait while the idle go first.
                let grows = workload.standing == Standing::Running;
                let soon = u64::from(grows) * known.growth.get().saturating_mul(GROWS_ON_S);
                excess.get().saturating_mul(weight).saturating_add(soon)
            }
        };
        let hurts = matches!(rung, Rung::Freeze | Rung::Stop | Rung::Kill);
        Score {
            avoid: workload.mark == Mark::Avoid,
            priority: rule.map_or(0, |rule| rule.priority),
            waits: !hurts && workload.standing == Standing::Frozen && !known.was_idle,
            excess_bytes: excess,
            grown_bytes: grown,
            idle_ms,
            points,
        }
    }

    /// What would leave memory by a rung (nothing by one that only stops growth), or why it is not taken.
    pub(super) fn weigh(
        &self,
        workload: &Workload,
        known: &Known,
        rung: Rung,
    ) -> Result<Bytes, WhyNot> {
        if workload.shield.is_some() || workload.mark == Mark::Omit {
            return Err(WhyNot::Spared);
        }
        if workload.standing == Standing::Parked {
            return Err(WhyNot::NotRunning);
        }
        if self.score(workload, known, rung).excess_bytes == Bytes::ZERO {
            return Err(WhyNot::WithinItsGuarantee);
        }
        if let Some(why) = known.why_not(rung, self.at_ms, self.policy.pace.retry.0) {
            return Err(why);
        }
        let frozen = workload.standing == Standing::Frozen;
        // Who was frozen by somebody else is somebody else's.
        if frozen && workload.stopped_for.is_none() {
            return Err(WhyNot::NotRunning);
        }
        if frozen && self.for_who_waits && !known.was_idle {
            return Err(WhyNot::NotRunning);
        }
        let quiet = frozen || known.idle_ms(self.at_ms) >= IDLE_MS;
        match rung {
            Rung::Reclaim => self.reclaim(workload, quiet),
            Rung::PageOut => self.page_out(workload, quiet),
            Rung::Freeze => self.freeze(workload, known, frozen),
            Rung::Park => self.park(workload, quiet),
            Rung::Checkpoint => self.checkpoint(workload, quiet),
            Rung::Stop => self.end(workload),
            Rung::Kill if known.tried_within(Rung::Stop, self.at_ms, STOP_GRACE_MS) => {
                Err(WhyNot::GentlerComesFirst)
            }
            Rung::Kill => self.end(workload),
        }
    }

    fn reclaim(&self, workload: &Workload, quiet: bool) -> Result<Bytes, WhyNot> {
        match () {
            () if !workload.can_reclaim => Err(WhyNot::Refused),
            () if !quiet || self.thrashing => Err(WhyNot::AtWork),
            () => self.if_worth(workload.cache_bytes),
        }
    }

    fn page_out(&self, workload: &Workload, quiet: bool) -> Result<Bytes, WhyNot> {
        let kept = Bytes(self.host.swap_total_bytes.get() / 10);
        let room = self.host.swap_free_bytes - kept;
        if room < self.worth() {
            return Err(WhyNot::NoSwap);
        }
        if !quiet {
            return Err(WhyNot::AtWork);
        }
        self.if_worth(workload.anon_bytes.min(room))
    }

    fn freeze(&self, workload: &Workload, known: &Known, frozen: bool) -> Result<Bytes, WhyNot> {
        match () {
            () if self.level < Level::Dire => Err(WhyNot::NotBadEnough),
            () if !workload.can_freeze => Err(WhyNot::NoFreezer),
            () if frozen => Err(WhyNot::NotRunning),
            () if !self.is_grower(known) => Err(WhyNot::NotGrowing),
            () => self.if_worth(held(workload)).map(|_| Bytes::ZERO),
        }
    }

    /// Parking frees memory as it goes, so it is never too late for it. A checkpoint frees it at its end.
    fn park(&self, workload: &Workload, quiet: bool) -> Result<Bytes, WhyNot> {
        if self.level < Level::Dire && !quiet {
            return Err(WhyNot::NotBadEnough);
        }
        self.if_worth(Bytes(workload.anon_bytes.get() / 100 * PARKED_PERCENT))
    }

    fn checkpoint(&self, workload: &Workload, quiet: bool) -> Result<Bytes, WhyNot> {
        let leaves = self.park(workload, quiet)?;
        let takes_ms = leaves.get() / (WRITTEN_A_SECOND / 1000);
        if self.exhausted_in_ms.is_some_and(|left| takes_ms > left) {
            return Err(WhyNot::TooSlow);
        }
        Ok(leaves)
    }

    fn end(&self, workload: &Workload) -> Result<Bytes, WhyNot> {
        match () {
            () if self.level < Level::Dire => Err(WhyNot::NotBadEnough),
            () if !self.nothing_gentler => Err(WhyNot::GentlerComesFirst),
            () => self.if_worth(held(workload)),
        }
    }

    fn if_worth(&self, bytes: Bytes) -> Result<Bytes, WhyNot> {
        if bytes >= self.worth() {
            Ok(bytes)
        } else {
            Err(WhyNot::NotWorthIt)
        }
    }

    /// Why an idle workload is not parked by its rule; `Ok` when it is.
    pub(super) fn is_due_for_idleness(&self, workload: &Workload, known: &Known) -> Option<Bytes> {
        let rule = self.policy.rule(known.rule)?;
        let idle = rule.idle?;
        let shield = workload
            .shield
            .filter(|shield| *shield != crate::observation::Shield::SessionLeader);
        let runs = workload.standing == Standing::Running
            && shield.is_none()
            && workload.mark != Mark::Omit;
        let due = runs && known.idle_ms(self.at_ms) >= idle.0;
        let again = known.why_not(Rung::Park, self.at_ms, self.policy.pace.retry.0);
        (due && again.is_none()).then_some(workload.anon_bytes)
    }
}
