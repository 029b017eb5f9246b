//! The recorder in a guest that swaps as hard as it can, beside a shell that tries the same (`lab/scenes/recorded.sh`): what it left
//! is judged here; `explained_guests` boots the guest.

use crate::program::json;
use crate::scenes::Left;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// It swapped, the recorder went on, and the last recording says what happened.
pub(crate) fn it_went_on(left: &Left) {
    let swapped = left.text("swapped");
    println!("{swapped}");
    let counted = |name: &str| -> u64 {
        let mut lines = swapped.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap().trim().parse().unwrap()
    };
    assert!(counted("pswpin ") > 10_000, "it did not swap: {swapped}");

    let ended = left.text("recorder");
    let ended: Value = serde_json::from_str(ended.lines().last().unwrap()).unwrap();
    let ours = Duration::from_millis(ended["longest_gap_ms"].as_u64().unwrap());
    let rounds: Vec<f64> = left
        .text("script")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    let theirs = rounds
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .fold(0.0, f64::max);
    println!(
        "the longest time from one to the next: recorder {} ms, shell {:.0} ms; {} beats, {} rounds of the shell",
        ours.as_millis(),
        theirs * 1000.0,
        ended["beats"],
        rounds.len()
    );

    // The last recording is read here, and says what happened there.
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("end.rec");
    fs::write(&path, left.bytes("-end.rec")).unwrap();
    let look = json(&[
        "look",
        "--json",
        "--root",
        path.to_str().unwrap(),
        "--at",
        "-10s",
    ]);
    crate::look::assert_closes(&look);
    let processes = look["processes"].as_array().unwrap();
    let swapped_out = |process: &&Value| process["swap_bytes"].as_u64().unwrap_or(0) > 0;
    assert!(
        processes.iter().filter(swapped_out).count() > 0,
        "{processes:?}"
    );
}
