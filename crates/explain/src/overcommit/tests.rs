use super::*;
use crate::findings::testing::{file_with, host, host_with};
use plimsoll_ledger::look::CommitProcess;

/// The captured host at ratio 100, strict.
fn strict(limit_kib: u64) -> Account {
    let meminfo = file_with(
        "proc/meminfo",
        "CommitLimit:",
        &format!("CommitLimit: {limit_kib} kB"),
    );
    let files = [
        ("proc/meminfo", meminfo.as_str()),
        ("proc/sys/vm/overcommit_memory", "2\n"),
        ("proc/sys/vm/overcommit_ratio", "100\n"),
    ];
    host_with(&files)
}

#[test]
fn at_ratio_100_more_is_promised_than_can_be_delivered() {
    let host = strict(24_684_096);
    let overcommit = overcommit(&host).unwrap();
    assert_eq!(overcommit.promised_bytes, host.look.host.total_bytes);
    assert!(
        overcommit.band_bytes > 0 && overcommit.band_bytes < 1 << 30,
        "{overcommit:?}"
    );
    assert_eq!(
        (overcommit.policy, overcommit.state),
        (Policy::Strict, Place::Kept)
    );
    let kept: Bytes = overcommit.kept.iter().map(|part| part.bytes).sum();
    let all = overcommit.deliverable_bytes + kept;
    assert!(
        all.get().abs_diff(host.look.host.total_bytes.get()) <= 1 << 20,
        "{overcommit:?}"
    );
    let advice = overcommit.advice.unwrap();
    assert!(advice.limit_bytes < overcommit.deliverable_bytes);
    assert_eq!(advice.over_by_bytes, Bytes::ZERO);
    assert_eq!(
        advice.undo,
        "sysctl vm.overcommit_memory=2 vm.overcommit_ratio=100"
    );
    assert_eq!(
        advice.price_bytes + advice.limit_bytes,
        overcommit.promised_bytes
    );
}

#[test]
fn at_half_of_ram_every_promise_is_kept() {
    let overcommit = overcommit(&strict(12_342_048)).unwrap();
    assert!(overcommit.band_bytes < 0);
    assert_eq!(overcommit.advice, None);
    assert!(overcommit.one_more.refused_from_bytes < overcommit.one_more.fits_bytes);
}

#[test]
fn a_host_that_is_not_strict_is_told_what_it_would_be() {
    let overcommit = overcommit(&host()).unwrap();
    assert_eq!(overcommit.policy, Policy::Heuristic);
    let advice = overcommit.advice.unwrap();
    assert!(advice.command.ends_with("vm.overcommit_memory=2"));
    assert_eq!(
        advice.undo,
        "sysctl vm.overcommit_memory=0 vm.overcommit_ratio=50"
    );
}

#[test]
fn places() {
    for (committed_mib, place) in [
        (3_000, Place::Kept),
        (24_000, Place::Band),
        (25_000, Place::Refusing),
    ] {
        let mut host = strict(24_684_096);
        host.look.commit.as_mut().unwrap().committed_bytes = Bytes::from_mib(committed_mib);
        assert_eq!(overcommit(&host).unwrap().state, place);
    }
}

#[test]
fn reservations_and_forks_that_would_be_refused() {
    let mut host = host();
    let commit = host.look.commit.as_mut().unwrap();
    commit.recomputed_bytes = Some(commit.committed_bytes);
    let process = |pid, charged_mib, unreserved_mib| CommitProcess {
        pid,
        charged_bytes: Bytes::from_mib(charged_mib),
        unreserved_bytes: Bytes::from_mib(unreserved_mib),
        ..CommitProcess::default()
    };
    commit.processes = vec![
        process(1, 10, 0),
        process(2, 100, 20 << 20),
        process(3, 9 << 10, 0),
    ];
    let refused = overcommit(&host).unwrap().refused.unwrap();
    let first: Vec<_> = refused.iter().map(|one| (one.pid, one.want)).collect();
    assert_eq!(first[..2], [(2, Want::Reservation), (3, Want::Fork)]);
}

#[test]
fn without_mappings_nothing_is_said_of_programs() {
    assert_eq!(overcommit(&host()).unwrap().refused, None);
}

#[test]
fn what_is_in_use_and_was_not_promised_is_outside() {
    let mut host = host();
    let whole = overcommit(&host).unwrap();
    host.look.commit.as_mut().unwrap().committed_bytes = Bytes::from_mib(1);
    let outside = overcommit(&host).unwrap();
    assert_eq!(outside.used_bytes, Bytes::from_mib(1));
    assert!(outside.deliverable_bytes < whole.deliverable_bytes);
}
