//! What needs a host at rest: the account as a whole against `Committed_AS`.

use super::meminfo;
use super::table::{CASES, Case, SHOWN};
use crate::quiet::up_to_three_times;
use plimsoll_ledger::commit::{Promises, Recount, account, policy};
use plimsoll_ledger::look::Commit;
use plimsoll_proc::process::smaps;
use plimsoll_proc::process::{mappings, sample};
use plimsoll_proc::{Root, sysvipc_shm};
use plimsoll_testkit::need;
use plimsoll_testkit::puppet::Puppet;
use plimsoll_units::Bytes;

/// The account, and `Committed_AS` from before the scan.
fn count(root: &Root) -> (Bytes, Commit) {
    let before = meminfo(root).committed_as.unwrap();
    let mut recount = Recount::default();
    mappings::scan(root, |_| false, |event| recount.take(&event)).unwrap();
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
    up_to_three_times(closes);
}

fn closes() -> Result<(), String> {
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
    let within = (-tolerance..=most).contains(&unexplained);
    within
        .then_some(())
        .ok_or_else(|| format!("{unexplained} bytes are unexplained"))
}

/// Each step of each case: what it adds to `Committed_AS`, its flags, and whether the recount follows.
#[test]
fn every_kind_of_mapping_is_charged_as_the_table_says() {
    need!(Root, MemoryFree(Bytes::from_mib(512)));
    // Others on this host may commit and give back memory in mid-case: not five times the same way.
    let try_again = |case| {
        let mut tries = (0..5).map(|_| against_the_kernel(case));
        let first_right = tries.find(Vec::is_empty);
        first_right.unwrap_or_else(|| against_the_kernel(case))
    };
    let wrong: Vec<String> = CASES.iter().flat_map(try_again).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const TOLERANCE: i64 = 1 << 20;

fn against_the_kernel(case: &Case) -> Vec<String> {
    let root = Root::live();
    let mut puppet = Puppet::spawn("commit::mapper");
    let before = count_at_rest(&root);
    let own = before.processes.iter().find(|p| p.pid == puppet.pid());
    let own = i64::try_from(own.unwrap().charged_bytes.0).unwrap();
    let mut wrong = Vec::new();
    for (order, mib, flags) in case.steps {
        let answer = puppet.tell(order);
        let now = count_at_rest(&root);
        let added = now.committed_bytes.signed_sub(before.committed_bytes);
        // A child is charged for all else that the puppet has, too.
        let copied = if order.starts_with("fork") { own } else { 0 };
        let expected = (mib << 20) + copied;
        let unexplained = now.unexplained_bytes.unwrap() - before.unexplained_bytes.unwrap();
        let found = flags_of(&root, puppet.pid(), &answer);
        println!("{:40} {order:24} {:+4} MiB {found}", case.name, added >> 20);
        if (added - expected).abs() > TOLERANCE {
            wrong.push(format!("{}: {order}: {added} for {expected}", case.name));
        }
        if !flags.is_empty() && found != *flags {
            wrong.push(format!("{}: {order}: {found:?} for {flags:?}", case.name));
        }
        let known = case.recount_over << 20;
        if (unexplained + known).abs() > TOLERANCE {
            wrong.push(format!(
                "{}: {order}: recount off by {unexplained}",
                case.name
            ));
        }
    }
    wrong
}

/// Those flags of the puppet's mapping that the table speaks of. The kernel may have merged it with a
/// neighbour of the same kind.
fn flags_of(root: &Root, pid: u32, range: &str) -> String {
    let (start, end) = range.split_once('-').unwrap();
    let address = |hex| u64::from_str_radix(hex, 16).unwrap();
    let (start, end) = (address(start), address(end));
    let text = root.read(format!("proc/{pid}/smaps")).unwrap();
    let flags = smaps::parse(&text).flatten().find_map(|smap| {
        let holds = smap.mapping.start <= start && end <= smap.mapping.end;
        holds.then_some(smap.flags).flatten()
    });
    // Half of a mapping that was split in two has no flags of its own.
    let flags = flags.unwrap_or_default();
    let names = SHOWN.iter().filter(|(_, flag)| flags.has(*flag));
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// Eight threads hold 260 MB each in blocks that `malloc(3)` takes from their arenas.
#[test]
fn what_glibc_arenas_hold_is_told_in_words() {
    need!(Root, MemoryFree(Bytes::from_mib(3 << 10)));
    let root = Root::live();
    let mut puppet = Puppet::spawn("commit::arenas");
    let before = count_at_rest(&root);
    puppet.tell("fill 8 248");
    let after = count_at_rest(&root);
    let added = after.committed_bytes.signed_sub(before.committed_bytes);
    let me = after
        .processes
        .iter()
        .find(|p| p.pid == puppet.pid())
        .unwrap();
    println!("Committed_AS {:+} MiB; {me:?}", added >> 20);
    let held = Bytes::from_mib(8 * 248);
    let off = me.anon_outside_bytes.signed_sub(held);
    assert!((0..64 << 20).contains(&off), "{off} over {held}");
    // Thread stacks of 2 MiB, Rust's own; nothing of the heaps.
    assert!(added < 32 << 20, "{added}");
    let words = &me.shapes[0];
    assert!(
        words.ends_with("glibc heaps that Committed_AS does not see"),
        "{words}"
    );
    assert!(
        words.starts_with(&me.anon_outside_bytes.to_string()[..3]),
        "{words}"
    );
}
