//! The host's account on the machine at hand, live and from its own capture.

use plimsoll_ledger::host::{Discovered, account};
use plimsoll_proc::Root;
use plimsoll_proc::host::HostSampler;
use plimsoll_testkit::need;
use std::fs::File;

/// What may be left over: 24 MiB, or 0.2 % of RAM where that is more.
fn allowed(total: u64) -> i64 {
    i64::try_from((24 << 20).max(total / 500)).unwrap()
}

#[test]
fn little_is_left_over_on_a_host_at_rest() {
    need!(Root);
    let root = Root::live();
    let mut sampler = HostSampler::open(&root).unwrap();
    let mut left_over: Vec<i64> = (0..15)
        .map(|_| {
            let sample = sampler.sample().unwrap();
            let host = account(&sample, &Discovered::default()).host;
            host.unattributed_bytes.abs() - allowed(host.total_bytes.get())
        })
        .collect();
    left_over.sort_unstable();
    assert!(
        left_over[7] <= 0,
        "the median is {} bytes too much",
        left_over[7]
    );
}

#[test]
fn the_capture_gives_the_same_account() {
    let dir = tempfile::tempdir().unwrap();
    let live = Root::recorded(File::open(dir.path()).unwrap().into());
    let mut sampler = HostSampler::open(&live).unwrap();
    let told = account(&sampler.sample().unwrap(), &Discovered::default());
    live.finish_recording().unwrap();

    let captured = Root::captured(dir.path()).unwrap();
    let mut sampler = HostSampler::open(&captured).unwrap();
    let again = account(&sampler.sample().unwrap(), &Discovered::default());
    assert_eq!(again, told);
    assert!(again.host.owners.len() > 10);
}
