//! Who goes down the ladder, and by which rung.

use super::act::{Act, PassedOver, RUNNERS_UP, Reason, RunnerUp, Score, Whom, WhyNot};
use super::known::Known;
use super::level::{Level, Sign};
use super::rungs::{STOP_GRACE_MS, Scene};
use super::{State, is_slow};
use crate::config::Rung;
use crate::observation::{Cause, Deed, Observation, Workload};
use plimsoll_units::Bytes;

/// In which order rungs are taken when work may be hurt: what stops the growth comes first, for it costs nothing but time.
const DIRE: [Rung; 7] = [
    Rung::Freeze,
    Rung::PageOut,
    Rung::Park,
    Rung::Reclaim,
    Rung::Checkpoint,
    Rung::Stop,
    Rung::Kill,
];

/// And when nobody may be hurt.
const PRESSED: [Rung; 4] = [Rung::Reclaim, Rung::PageOut, Rung::Park, Rung::Checkpoint];

/// It has to have been dire for so long before work is lost: a look at what the gentler acts brought, or, where there was none
/// to be tried, a survey of who has come since.
const LOSS_AFTER_MS: u64 = 500;
const LOSS_AFTER_NOTHING_MS: u64 = 300;

/// Who ends gives its memory back by and by.
const RELIEF_MS: u64 = 500;

/// While it is dire, acts follow each other faster.
const DIRE_SETTLE_MS: u64 = 200;

/// The next step down, if there is one.
pub(super) fn down(
    state: &State,
    scene: &Scene<'_>,
    seen: &Observation,
    reason: &Reason,
) -> Option<Act> {
    let hoped_for = state.hoped_for(scene.at_ms);
    let settle = match scene.level {
        // What is under way won't do: to wait and see would be to fall behind.
        _ if hoped_for < reason.need_bytes => scene.policy.pace.settle.0.min(DIRE_SETTLE_MS),
        Level::Dire => scene.policy.pace.settle.0.min(DIRE_SETTLE_MS),
        _ => scene.policy.pace.settle.0,
    };
    if state
        .acted_ms
        .is_some_and(|then| scene.at_ms.saturating_sub(then) < settle)
    {
        return None;
    }
    let order = match scene.level {
        Level::Dire => DIRE.as_slice(),
        _ => PRESSED.as_slice(),
    };
    let enough_is_under_way = hoped_for > Bytes::ZERO && hoped_for >= reason.need_bytes;
    let gentle = order.iter().filter(|rung| !rung.loses_work());
    for rung in gentle {
        if is_slow(Deed::Rung(*rung)) && (enough_is_under_way || !state.has_a_hand()) {
            continue;
        }
        if let Some(act) = by(state, scene, seen, reason, *rung) {
            return Some(act);
        }
    }
    if scene.level < Level::Dire || hoped_for > Bytes::ZERO {
        return None;
    }
    let dire_for = state.course.dire_for_ms(scene.at_ms);
    let within =
        |then: Option<u64>, ms| then.is_some_and(|then| scene.at_ms.saturating_sub(then) < ms);
    let loss_after = if within(state.acted_ms, dire_for.saturating_add(1)) {
        LOSS_AFTER_MS
    } else {
        LOSS_AFTER_NOTHING_MS
    };
    // Nor is anybody lost for what somebody else, who is gone, had taken.
    if dire_for < loss_after || within(state.relieved_ms, RELIEF_MS) {
        return None;
    }
    // What goes fast goes to swap next: nobody is to be lost for that alone.
    if reason.sign == Sign::SoonUsedUp && scene.host.swap_is_left() {
        return None;
    }
    // And what stands still for pages that come and go needs room, not an end: there is memory.
    let stands_still = matches!(reason.sign, Sign::AllStandStill | Sign::Thrashing);
    if stands_still && scene.host.available_bytes >= scene.marks.low_bytes {
        return None;
    }
    // One that was asked to end takes a moment. It frees its memory, or is killed, before anybody else is asked.
    let asked = state.known.asked_to_end(scene.at_ms);
    if asked.is_some_and(|ms| ms < STOP_GRACE_MS) {
        return None;
    }
    let harsh = Scene {
        nothing_gentler: true,
        ..*scene
    };
    let first = if asked.is_some() {
        Rung::Kill
    } else {
        Rung::Stop
    };
    let losing = order
        .iter()
        .filter(|rung| rung.loses_work() && **rung >= first);
    let act = losing.into_iter().find_map(|rung| {
        let hand = !is_slow(Deed::Rung(*rung)) || state.has_a_hand();
        hand.then(|| by(state, &harsh, seen, reason, *rung))?
    });
    act.or_else(|| refusal(state, scene, reason))
}

/// Something should be done and nothing can: that is said, and not too often.
fn refusal(state: &State, scene: &Scene<'_>, reason: &Reason) -> Option<Act> {
    let retry = scene.policy.pace.retry.0;
    let waits = state.flights.iter().any(Option::is_some)
        || state
            .refused_ms
            .is_some_and(|then| scene.at_ms.saturating_sub(then) < retry)
        || state
            .acted_ms
            .is_some_and(|then| scene.at_ms.saturating_sub(then) < retry.min(5000));
    (!waits).then_some(Act {
        at_ms: scene.at_ms,
        whom: None,
        reason: *reason,
    })
}

/// A workload for which a rung is the next to be taken.
#[derive(Clone, Copy)]
struct Candidate<'w> {
    workload: &'w Workload,
    known: &'w Known,
    score: Score,
    expected: Bytes,
}

/// The best for a rung, with who else there was.
fn by(
    state: &State,
    scene: &Scene<'_>,
    seen: &Observation,
    reason: &Reason,
    rung: Rung,
) -> Option<Act> {
    let mut best: [Option<Candidate<'_>>; RUNNERS_UP + 1] = [None; RUNNERS_UP + 1];
    for (place, workload) in seen.workloads.iter().enumerate() {
        let candidate = candidate(state, scene, workload, place, rung);
        let Some(candidate) = candidate else { continue };
        let behind = |other: &Option<Candidate<'_>>| {
            other
                .as_ref()
                .is_none_or(|other| candidate.score.goes_before(&other.score))
        };
        if let Some(tail) = best
            .iter()
            .position(behind)
            .and_then(|at| best.get_mut(at..))
        {
            tail.rotate_right(1);
            if let Some(slot) = tail.first_mut() {
                *slot = Some(candidate);
            }
        }
    }
    let [chosen, others @ ..] = best;
    let chosen = chosen?;
    let mut reason = *reason;
    reason.runners_up = others.map(|other| {
        other.map(|other| RunnerUp {
            name: other.workload.name,
            rung,
            standing: other.score,
        })
    });
    reason.passed_over = passed_over(scene, &chosen, rung);
    let rule = chosen.known.rule;
    Some(Act {
        at_ms: scene.at_ms,
        whom: Some(Whom {
            id: chosen.workload.id,
            name: chosen.workload.name,
            hold: chosen.workload.hold,
            deed: Deed::Rung(rung),
            cause: Cause::Pressure,
            was_idle: chosen.known.rests(scene.at_ms),
            extent: scene
                .policy
                .rule(rule)
                .map(|rule| rule.kill)
                .unwrap_or_default(),
            rule,
            standing: chosen.score,
            expected_bytes: chosen.expected,
        }),
        reason,
    })
}

/// A workload, if this rung is the gentlest of its ladder that can be taken with it now.
fn candidate<'w>(
    state: &'w State,
    scene: &Scene<'_>,
    workload: &'w Workload,
    place: usize,
    rung: Rung,
) -> Option<Candidate<'w>> {
    if state.is_busy(workload.id) {
        return None;
    }
    let known = state.known.get(workload.id, place)?;
    let ladder = scene.policy.ladder(known.rule);
    let mut possible = ladder
        .iter()
        .filter(|rung| scene.weigh(workload, known, **rung).is_ok());
    if possible.next() != Some(&rung) {
        return None;
    }
    Some(Candidate {
        workload,
        known,
        score: scene.score(workload, known, rung),
        expected: scene.weigh(workload, known, rung).ok()?,
    })
}

fn passed_over(
    scene: &Scene<'_>,
    chosen: &Candidate<'_>,
    rung: Rung,
) -> [Option<PassedOver>; Rung::ALL.len()] {
    let ladder = scene.policy.ladder(chosen.known.rule);
    let before = |other: &Rung| ladder.contains(other) && *other != rung;
    Rung::ALL.map(|other| {
        let weighed = before(&other).then(|| scene.weigh(chosen.workload, chosen.known, other))?;
        let because = weighed.err().unwrap_or(WhyNot::GentlerComesFirst);
        Some(PassedOver {
            rung: other,
            because,
        })
    })
}

/// One that has been idle for as long as its rule says.
pub(super) fn idle(
    state: &State,
    scene: &Scene<'_>,
    seen: &Observation,
    reason: &Reason,
) -> Option<Act> {
    if !state.has_a_hand() || scene.level == Level::Dire {
        return None;
    }
    let due = |(place, workload): (usize, &Workload)| {
        let known = state.known.get(workload.id, place)?;
        let leaves = scene.is_due_for_idleness(workload, known)?;
        (!state.is_busy(workload.id)).then_some((*workload, *known, leaves))
    };
    let (workload, known, leaves) = seen.workloads.iter().enumerate().find_map(due)?;
    Some(Act {
        at_ms: scene.at_ms,
        whom: Some(Whom {
            id: workload.id,
            name: workload.name,
            hold: workload.hold,
            deed: Deed::Rung(Rung::Park),
            cause: Cause::Idle,
            was_idle: true,
            extent: Default::default(),
            rule: known.rule,
            standing: scene.score(&workload, &known, Rung::Park),
            expected_bytes: leaves,
        }),
        reason: *reason,
    })
}
