//! Integration tests of the crate: one binary, a module for each subject.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is tests"
)]

mod documented;
mod odd;
mod of_the_lab;
mod public;

use plimsoll_explain::oom::{Verdict, explain};
use plimsoll_explain::report::reports;

/// The verdicts on all reports of a fixture.
fn verdicts(file: &str) -> Vec<Verdict> {
    let path = format!("{}/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let log = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    explain(&reports(&log))
}

/// The verdict on the last report of a fixture.
fn verdict(file: &str) -> Verdict {
    verdicts(file).pop().unwrap()
}

/// Every owner and the remainder are all of RAM.
fn assert_closes(verdict: &Verdict) {
    let Some(memory) = &verdict.memory else {
        return;
    };
    let owned: i128 = memory
        .owners
        .iter()
        .map(|owner| i128::from(owner.bytes.get()))
        .sum();
    assert_eq!(
        owned + i128::from(memory.unattributed_bytes),
        i128::from(memory.total_bytes.get())
    );
}
