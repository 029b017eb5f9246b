//! The host's account on the machine at hand, live and from its own capture.

use plimsoll_ledger::host::{Discovered, account};
use plimsoll_proc::Root;
use plimsoll_proc::host::HostSampler;
use std::fs::File;

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
