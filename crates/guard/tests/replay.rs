//! Recordings replay to the same acts, and say where they make no sense.

use plimsoll_guard::observation::{Host, Id, Observation, Workload};
use plimsoll_guard::{Act, Name, Policy, State, decide, replay};
use plimsoll_units::Bytes;

/// A hog that fills a GiB in some seconds.
fn moments() -> Vec<Observation> {
    let moment = |step: u64| {
        let held = Bytes::from_mib((step * 20).min(1000));
        Observation {
            at_ms: 1000 + step * 100,
            host: Host {
                total_bytes: Bytes::from_mib(1024),
                available_bytes: Bytes::from_mib(1024) - held,
                ..Host::default()
            },
            workloads: vec![Workload {
                id: Id::Group(7),
                name: Name::of(b"/a \"hog\"\n"),
                anon_bytes: held,
                cpu_us: step * 100_000,
                can_freeze: true,
                ..Workload::default()
            }],
            ..Observation::default()
        }
    };
    (0..60).map(moment).collect()
}

fn recording(moments: &[Observation]) -> String {
    let line = |moment| serde_json::to_string(moment).unwrap() + "\n";
    moments.iter().map(line).collect()
}

fn replayed(recording: &str) -> Result<Vec<Act>, String> {
    let mut acts = Vec::new();
    let told = replay(&Policy::default(), recording.as_bytes(), |act| {
        acts.push(*act)
    });
    told.map(|_| acts).map_err(|error| error.to_string())
}

#[test]
fn a_recording_replays_to_the_same_acts() {
    let (mut state, mut acts, mut all) = (State::default(), Vec::new(), Vec::new());
    for moment in moments() {
        decide(&Policy::default(), &mut state, &moment, &mut acts);
        all.extend(acts.iter().copied());
    }
    assert!(!all.is_empty());
    assert_eq!(replayed(&recording(&moments())).unwrap(), all);
}

#[test]
fn a_recording_that_was_cut_short_is_replayed_as_far_as_it_goes() {
    let moments = moments();
    let (_, without_the_last) = moments.split_last().unwrap();
    let whole = recording(&moments);
    let cut = whole.get(..whole.len() - 40).unwrap();
    let expected = replayed(&recording(without_the_last)).unwrap();
    assert_eq!(replayed(cut).unwrap(), expected);
}

#[test]
fn a_line_that_is_no_observation_is_told() {
    let told = replayed("{\"at_ms\":1,\"host\":{}}\nnonsense\n{}\n").unwrap_err();
    assert_eq!(told, "line 2 of the recording is no observation");
}
