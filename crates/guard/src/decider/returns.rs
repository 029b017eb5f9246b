//! The way back up: in order, one at a time, and only while there is room for it.

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
    let candidates = seen
        .workloads
        .iter()
        .enumerate()
        .filter_map(|(place, workload)| {
            let known = state.known.get(workload.id, place)?;
            let deed = deed(scene, workload, known)?;
            Some((workload, known, deed))
        });
    // Who costs nothing to bring back first, then who matters most, then who has waited longest.
    let (workload, known, deed) = candidates.min_by_key(|(_, known, deed)| {
        let priority = scene
            .policy
            .rule(known.rule)
            .map_or(0, |rule| rule.priority);
        (*deed != Deed::Thaw, Reverse(priority), known.frozen_ms)
    })?;
    Some(Act {
        at_ms: scene.at_ms,
        whom: Some(Whom {
            id: workload.id,
            name: workload.name,
            deed,
            cause: Cause::Pressure,
            extent: Default::default(),
            rule: known.rule,
            standing: Score::default(),
            expected_bytes: Bytes::ZERO,
        }),
        reason: *reason,
    })
}

/// Whether it was taken down for want of memory.
fn is_down(workload: &Workload) -> bool {
    workload.standing != Standing::Running && workload.stopped_for == Some(Cause::Pressure)
}

/// What would bring a workload back, if it may come.
fn deed(scene: &Scene<'_>, workload: &Workload, known: &Known) -> Option<Deed> {
    if !is_down(workload) {
        return None;
    }
    let calm = scene.level == Level::Calm
        && scene.at_ms >= known.may_return_at_ms(scene.policy.pace.between_returns.0);
    let room = scene.host.available_bytes - scene.marks.enough_bytes;
    match workload.standing {
        Standing::Running => None,
        Standing::Frozen => {
            let frozen_for = known
                .frozen_ms
                .map(|since| scene.at_ms.saturating_sub(since));
            let long = frozen_for.is_some_and(|ms| ms >= scene.policy.pace.longest_freeze.0);
            (calm || long).then_some(Deed::Thaw)
        }
        Standing::Parked => (calm && room >= known.wants).then_some(Deed::Resume),
    }
}
