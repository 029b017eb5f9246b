//! The recorder in a guest that swaps as hard as it can, beside a shell that tries the same (`lab/scenes/recorded.sh`).

use crate::program::json;
use plimsoll_lab::{Guest, Kernel};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For so many seconds.
const SWAPPED_FOR: u64 = 60;

#[test]
fn it_records_while_the_guest_swaps() {
    need!(Lab);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guest = Guest {
        memory: Bytes::from_mib(512),
        cpus: 2,
        swap: Some(Bytes::from_mib(2048)),
        programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
            .map(|(package, program)| (package.to_owned(), program.to_owned()))
            .to_vec(),
        copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
        copy_out: vec![PathBuf::from("/out")],
        ..Guest::new(Kernel::named("6.12").unwrap())
    };
    let command = ["sh", "/scenes/recorded.sh", &SWAPPED_FOR.to_string()].map(str::to_owned);
    let mut said = Vec::new();
    let outcome = guest.run(&command, |_, bytes| {
        said.extend_from_slice(bytes);
        Ok(())
    });
    let outcome = outcome.unwrap();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(outcome.status, 0, "{said}");
    let text = |name: &str| {
        let mut files = outcome
            .files
            .iter()
            .filter(|(path, _)| path.ends_with(name));
        String::from_utf8_lossy(&files.next().unwrap().1).into_owned()
    };

    let swapped = text("swapped");
    println!("{said}{swapped}");
    let counted = |name: &str| -> u64 {
        let mut lines = swapped.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap().trim().parse().unwrap()
    };
    assert!(counted("pswpin ") > 10_000, "it did not swap: {swapped}");

    let ended = text("recorder");
    let ended: Value = serde_json::from_str(ended.lines().last().unwrap()).unwrap();
    let ours = Duration::from_millis(ended["longest_gap_ms"].as_u64().unwrap());
    let rounds: Vec<f64> = text("script")
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
    let recording = outcome
        .files
        .iter()
        .find(|(path, _)| path.to_string_lossy().ends_with("-end.rec"));
    let path = scratch.path().join("end.rec");
    fs::write(&path, &recording.unwrap().1).unwrap();
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
