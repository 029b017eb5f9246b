//! Parked programs woken by their clients: nobody says `plimsoll resume`.
//!
//! The client asks, and the time to its answer is told: from the question, through the watcher, to the thaw and the
//! pages that the answer takes.

use super::running::until;
use super::{Client, directory, document, number};
use crate::program::{json, plimsoll};
use std::time::{Duration, Instant};

const WAKES: usize = 20;
/// So long a program is left parked before it is asked.
const IDLE: Duration = Duration::from_millis(100);

/// Has the tree of `pid` parked and woken, time after time.
pub(super) fn twenty_wakes(program: &str, pid: u32, client: &mut dyn Client) {
    let stores = directory();
    let mut answers = Vec::new();
    let mut moved_bytes = 0;
    for _ in 0..WAKES {
        let mut command = plimsoll();
        command.args(["park", "--json", "--wake", "input", "--via", "store"]);
        command.arg("--store").arg(stores.path());
        let parked = document(&command.arg(pid.to_string()).output().unwrap());
        assert_eq!(parked["watched"], true, "{parked}");
        moved_bytes = number(&parked, "moved_bytes");
        std::thread::sleep(IDLE);
        assert!(is_parked(pid), "{program} woke unasked: {parked}");
        let asked = Instant::now();
        client.ask();
        answers.push(asked.elapsed());
        assert!(until(|| !is_parked(pid)), "{program} is not all back");
        client.check();
    }
    answers.sort_unstable();
    println!(
        "{program} woken: {WAKES} wakes, 0 errors, {moved_bytes} bytes out, answer after {:.1} ms (median), {:.1} ms (most)",
        answers[WAKES / 2].as_secs_f64() * 1e3,
        answers[WAKES - 1].as_secs_f64() * 1e3,
    );
}

/// Whether it is parked, or on its way back.
fn is_parked(pid: u32) -> bool {
    let told = json(&["parked", "--json"]);
    let trees = told["trees"].as_array().unwrap();
    trees.iter().any(|tree| tree["pid"] == pid)
}
