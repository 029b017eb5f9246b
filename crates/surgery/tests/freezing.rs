//! Trees that stand still without us, each way, and come back.

use crate::stopping::{PATIENCE, pid, stop};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze::{self, FrozenBy, Plan};
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::Extent;
use plimsoll_sys::ptrace::{Options, Running, Stop};
use plimsoll_sys::remote::Syscall;
use plimsoll_testkit::{Victim, need};
use std::time::Duration;

/// How often the victim's main thread went to sleep: whether it runs at all.
fn switches(pid: u32) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
    switches.map(str::to_owned).collect()
}

/// Waits until it has come to rest: let go, it walks from one stop into the other.
fn at_rest(pid: u32) -> Vec<String> {
    let mut before = switches(pid);
    loop {
        std::thread::sleep(Duration::from_millis(30)); // longer than any victim sleeps
        let now = switches(pid);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Undoes a plan, also when the test fails.
struct Undo<'p>(&'p Plan);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let _ = self.0.thaw(&Root::live());
    }
}

/// Freezes a tree, sees that it stands, has a call executed in it, and lets it go.
fn freeze_round(victim: &Victim, by: FrozenBy) {
    let root = Root::live();
    let tree = stop(pid(victim));
    let mut recorded = None;
    let plan = freeze::hold(&root, &tree, &[by], |plan| {
        recorded = Some(serde_json::to_string(plan).unwrap());
        Ok(())
    });
    let plan = plan.unwrap();
    let _undo = Undo(&plan);
    assert_eq!(plan.by, by);
    tree.release();
    plan.confirm(&root, PATIENCE).unwrap();
    at_rest(pid(victim));
    // Another process would have nothing but the record.
    let found: Plan = serde_json::from_str(&recorded.unwrap()).unwrap();
    let thaw = || found.thaw(&root).unwrap();
    let mut tree =
        StoppedTree::stop_frozen(&root, pid(victim), Extent::Whole, PATIENCE, thaw).unwrap();
    let mut operation = Operation::begin(&root, tree.processes.first_mut().unwrap()).unwrap();
    operation
        .call("tell its pid", Syscall::new(libc::SYS_getpid, []))
        .unwrap();
    drop(operation);
    tree.release();
    found.thaw(&root).unwrap(); // once more does no harm
}

fn freeze_all_kinds(by: FrozenBy) {
    for kind in ["nanosleep", "epoll", "futex", "poll", "threads"] {
        let victim = Victim::start(kind).unwrap();
        for _ in 0..5 {
            freeze_round(&victim, by);
        }
        victim
            .end()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[test]
fn by_cgroup_v2() {
    need!(Root, CgroupV2);
    freeze_all_kinds(FrozenBy::CgroupV2);
}

#[test]
fn by_cgroup_v1() {
    need!(Root, CgroupV1Freezer);
    freeze_all_kinds(FrozenBy::CgroupV1);
}

#[test]
fn by_sigstop() {
    freeze_all_kinds(FrozenBy::Sigstop);
}

/// What ptrace can do with a thread that a freezer holds.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    /// It comes to no ptrace stop.
    Nothing,
    /// It comes to a stop, but resumed from it executes nothing.
    Stops,
    /// It executes.
    Executes,
}

fn reach(by: FrozenBy) -> Reach {
    let root = Root::live();
    let victim = Victim::start("nanosleep").unwrap();
    let tree = stop(pid(&victim));
    let plan = freeze::hold(&root, &tree, &[by], |_| Ok(())).unwrap();
    let undo = Undo(&plan);
    tree.release();
    plan.confirm(&root, PATIENCE).unwrap();
    at_rest(pid(&victim));
    let target = victim.pid();
    // In a thread of its own: what it can't let go of is let go by its end.
    let tried = std::thread::spawn(move || {
        let brief = Duration::from_millis(200);
        let running = Running::seize(target, Options::SYSGOOD).unwrap();
        let Stop::Stopped(stopped) = running.stop(brief, drop).unwrap() else {
            return Reach::Nothing;
        };
        // Its sleep goes on by a system call, if it goes on.
        match stopped
            .resume_to_syscall()
            .unwrap()
            .wait_for(brief)
            .unwrap()
        {
            Ok(_) => Reach::Executes,
            Err(_) => Reach::Stops,
        }
    });
    let reach = tried.join().unwrap();
    drop(undo);
    victim.end().unwrap();
    reach
}

#[test]
fn what_ptrace_reaches_in_a_freezer() {
    need!(Root, CgroupV2, CgroupV1Freezer);
    let expected = [Reach::Stops, Reach::Nothing, Reach::Executes];
    assert_eq!(FrozenBy::ALL.map(reach), expected);
}
