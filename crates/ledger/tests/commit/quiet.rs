//! What needs a host at rest: the account as a whole against `Committed_AS`.

use super::meminfo;
use plimsoll_ledger::commit::{Promises, Recount, account, policy};
use plimsoll_ledger::look::Commit;
use plimsoll_proc::process::{mappings, sample};
use plimsoll_proc::{Root, sysvipc_shm};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;

/// The account, and `Committed_AS` from before the scan.
fn count(root: &Root) -> (Bytes, Commit) {
    let before = meminfo(root).committed_as.unwrap();
    let mut recount = Recount::default();
    mappings::scan(root, |event| recount.take(&event)).unwrap();
    let meminfo = meminfo(root);
    let mode = root.read("proc/sys/vm/overcommit_memory").unwrap();
    let promises = Promises {
        policy: policy(&mode).unwrap(),
        segments: sysvipc_shm::parse(&root.read("proc/sysvipc/shm").unwrap()),
        recount: Some(recount),
    };
    (before, account(&meminfo, promises).unwrap())
}

/// Counts until nothing was committed or given back, started or ended meanwhile.
fn count_at_rest(root: &Root) -> Commit {
    for _ in 0..100 {
        let pids = sample::pids(root).unwrap();
        let (before, commit) = count(root);
        if before == commit.committed_bytes && pids == sample::pids(root).unwrap() {
            return commit;
        }
    }
    panic!("this host never rests: run this test alone");
}

#[test]
fn it_closes_to_a_mebibyte() {
    need!(Root);
    let commit = count_at_rest(&Root::live());
    let unexplained = commit.unexplained_bytes.unwrap();
    let unreadable: Bytes = commit.unreadable.iter().map(|p| p.at_most_bytes).sum();
    println!(
        "Committed_AS {}, recomputed {}, unexplained {unexplained}, unreadable at most {}",
        commit.committed_bytes.0,
        commit.recomputed_bytes.unwrap().0,
        unreadable.0,
    );
    // What can't be read is an upper bound, so the truth may lie anywhere between nothing and it.
    let tolerance = 1 << 20;
    let most = i64::try_from(unreadable.0).unwrap() + tolerance;
    assert!((-tolerance..=most).contains(&unexplained));
}
