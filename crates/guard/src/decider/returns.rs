//! The way back up: in order, one at a time, and only while there is room for it.
//!
//! Work that stands still comes before what was idle, which wakes on input by itself and would take the room that the work
//! waits for. Where there is no room, the idle make it ([`wanted`] says how much).

use super::State;
use super::act::{Act, Reason, Score, Whom};
use super::known::Known;
use super::level::Level;
use super::rungs::Scene;
use crate::observation::{Cause, Deed, Observation, Standing, Workload};
use plimsoll_units::Bytes;
use std::cmp::Reverse;

/// Who comes back next, if anybody.
pub(super) fn back(
    state: &State,
    scene: &Scene<'_>,
    seen: &Observation,
    reason: &Reason,
) -> Option<Act> {
    let pace = &scene.policy.pace;
    let lately =
        |then: Option<u64>, ms: u64| then.is_some_and(|then| scene.at_ms.saturating_sub(then) < ms);
    if lately(state.acted_ms, pace.between_returns.0) || state.flights.iter().any(Option::is_some) {
        return None;
    }
    let work_waits = down(state, seen).any(|(_, known)| !known.was_idle);
    let candidates = down(state, seen).filter_map(|(workload, known)| {
        let deed = deed(scene, workload, known)?;
        (!known.was_idle || !work_waits).then_some((workload, known, deed))
    });
    // Who costs nothing to bring back first, then who matters most, then who has waited longest.
    let (workload, known, deed) = candidates.min_by_key(|(_, known, deed)| {
        (
            *deed != Deed::Thaw,
            Reverse(priority(scene, known)),
            known.frozen_ms,
        )
    })?;
    Some(Act {
        at_ms: scene.at_ms,
        whom: Some(Whom {
            id: workload.id,
            name: workload.name,
            hold: workload.hold,
            deed,
            cause: Cause::Pressure,
            was_idle: known.was_idle,
            extent: Default::default(),
            rule: known.rule,
            standing: Score::default(),
            expected_bytes: Bytes::ZERO,
        }),
        reason: *reason,
    })
}

/// What would have to be available for the work that matters most of what stands still to go on; `None` where none does.
pub(super) fn wanted(state: &State, scene: &Scene<'_>, seen: &Observation) -> Option<Bytes> {
    let working = down(state, seen).filter(|(_, known)| !known.was_idle);
    let (workload, known) =
        working.min_by_key(|(_, known)| (Reverse(priority(scene, known)), known.wants))?;
    Some(scene.marks.enough_bytes + room_for(workload, known))
}

/// Those that were taken down for want of memory.
fn down<'s>(
    state: &'s State,
    seen: &'s Observation,
) -> impl Iterator<Item = (&'s Workload, &'s Known)> {
    let all = seen.workloads.iter().enumerate();
    all.filter_map(|(place, workload)| {
        let is_down =
            workload.standing != Standing::Running && workload.stopped_for == Some(Cause::Pressure);
        Some((
            workload,
            is_down.then(|| state.known.get(workload.id, place))??,
        ))
    })
}

fn priority(scene: &Scene<'_>, known: &Known) -> i8 {
    let rule = scene.policy.rule(known.rule);
    rule.map_or(0, |rule| rule.priority)
}

/// What it takes beyond what it has: one that is frozen has its memory, and goes on growing.
fn room_for(workload: &Workload, known: &Known) -> Bytes {
    match workload.standing {
        Standing::Frozen => known.growth,
        Standing::Parked | Standing::Running => known.wants,
    }
}

/// What would bring a workload back, if it may come.
fn deed(scene: &Scene<'_>, workload: &Workload, known: &Known) -> Option<Deed> {
    let pace = &scene.policy.pace;
    let room = scene.host.available_bytes - scene.marks.enough_bytes;
    let fits = room >= room_for(workload, known) && scene.level <= Level::Easing;
    let waited = |first_wait_ms| known.has_waited(scene.at_ms, first_wait_ms);
    match workload.standing {
        Standing::Running => None,
        Standing::Frozen => {
            let frozen_for = known
                .frozen_ms
                .map(|since| scene.at_ms.saturating_sub(since));
            let long = frozen_for.is_some_and(|ms| ms >= pace.longest_freeze.0);
            // Where there is room it was made, by those that were parked meanwhile: no spell of calm says more.
            let calm = scene.level == Level::Calm && waited(pace.between_returns.0);
            (calm || long || (fits && waited(pace.settle.0))).then_some(Deed::Thaw)
        }
        Standing::Parked => {
            let calm = scene.level == Level::Calm;
            // What it wants is a guess by what it had: in the end it is tried with half of it.
            let at_last = room >= Bytes(known.wants.get() / 2) && waited(pace.longest_freeze.0);
            let may = calm && (fits && waited(pace.between_returns.0) || at_last);
            may.then_some(Deed::Resume)
        }
    }
}
