//! A rehearsal: the decider is taken through trouble that is made up, and its words are formatted to nowhere. What a turn needs
//! of the program is in memory then, and locked, before it is needed: under real trouble it might have to come from a disk.

use crate::config::Policy;
use crate::decider::{Act, MOST_ACTS, State, decide};
use crate::name::Name;
use crate::observation::{Cause, Ended, Host, Id, Observation, Outcome, Standing, Workload};
use plimsoll_units::Bytes;
use std::io::{Write, sink};

/// A hog that fills a host, is stopped, and lets go.
fn moment(step: u64) -> Observation {
    let total = Bytes::from_mib(1024);
    let held = Bytes::from_mib(if step < 90 {
        (step * 17).min(1000)
    } else {
        100
    });
    let stopped = (90..100).contains(&step);
    Observation {
        at_ms: 1000 + step * 500,
        host: Host {
            total_bytes: total,
            available_bytes: total - held,
            some_us: Some(step * 200_000),
            full_us: Some(step * 200_000),
            ..Host::default()
        },
        workloads: vec![Workload {
            id: Id::Group(1),
            name: Name::of(b"/rehearsal"),
            anon_bytes: held,
            cpu_us: step * 1000,
            can_freeze: step % 20 < 10,
            standing: if stopped {
                Standing::Frozen
            } else {
                Standing::Running
            },
            stopped_for: stopped.then_some(Cause::Pressure),
            ..Workload::default()
        }],
        ..Observation::default()
    }
}

/// Goes through all of it; every act comes to nothing, so that the next has to be taken.
fn through(policy: &Policy, mut acted: impl FnMut(&Act)) {
    let mut state = State::default();
    let mut acts = Vec::with_capacity(MOST_ACTS);
    let mut outcomes = Vec::new();
    for step in 0..120 {
        let mut seen = moment(step);
        seen.outcomes.append(&mut outcomes);
        decide(policy, &mut state, &seen, &mut acts);
        acts.iter().for_each(&mut acted);
        outcomes.extend(acts.iter().filter_map(|act| {
            let whom = act.whom?;
            Some(Outcome {
                id: whom.id,
                of: whom.deed,
                ended: Ended::Failed,
                freed_bytes: Bytes::ZERO,
                took_ms: 1,
            })
        }));
    }
}

pub(crate) fn rehearse(policy: &Policy) {
    through(policy, |act| {
        // To nowhere: nothing can go wrong.
        let _ = write!(sink(), "{act}");
        let _ = serde_json::to_writer(sink(), act);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_through_trouble() {
        let mut deeds = Vec::new();
        through(&Policy::default(), |act| {
            deeds.push(act.whom.map(|whom| whom.deed))
        });
        deeds.dedup();
        assert!(deeds.len() >= 3, "{deeds:?}");
    }
}
