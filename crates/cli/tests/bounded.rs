//! What parking and resuming take for themselves does not grow with what is parked.

use crate::program::{plimsoll, transcript};
use plimsoll_testkit::{Victim, need};
use plimsoll_units::Bytes;
use serde_json::Value;

/// What a run of the program took at most.
fn peak(arguments: &[&str]) -> u64 {
    let output = plimsoll().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    said["own_peak_bytes"].as_u64().unwrap()
}

/// What parking and resuming one part in so many of a heap took.
fn peaks(part: u32) -> [u64; 2] {
    let victim = Victim::start_part("anon", part).unwrap();
    let pid = victim.pid().as_raw_pid().to_string();
    let stores = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = stores.path().join("stores");
    let to_store = ["--via", "store", "--store", store.to_str().unwrap(), &pid];
    let parked = peak(&[&["park", "--json"], &to_store[..]].concat());
    let resumed = peak(&["resume", "--json", &pid]);
    victim.end().unwrap();
    [parked, resumed]
}

#[test]
fn our_own_memory_does_not_grow_with_the_target() {
    need!(Root, Userfaultfd, MemoryFree(Bytes::from_mib(1024)));
    let (small, large) = (peaks(64), peaks(4));
    for (small, large) in small.into_iter().zip(large) {
        assert!(large < small + (4 << 20), "{small} bytes became {large}");
    }
}
