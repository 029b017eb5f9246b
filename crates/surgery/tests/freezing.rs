//! Trees that stand still without us, each way, and come back.

use crate::stopping::{PATIENCE, pid, stop};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze::{self, FrozenBy, Plan};
use plimsoll_surgery::holds::Obstacle;
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::Extent;
use plimsoll_sys::ptrace::{Options, Running, Stop};
use plimsoll_sys::remote::Syscall;
use plimsoll_testkit::{Victim, need};
use rustix::process::{Signal, kill_process};
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

/// Where a process is in a hierarchy.
fn groups_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

fn state_of(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.chars().next().unwrap()
}

/// The steps of freezing by a group of our own and of thawing again, each as a kill behind it leaves it.
const STEPS: [&[&str]; 6] = [
    &[],
    &["make"],
    &["make", "enter"],
    &["make", "enter", "freeze"],
    &["make", "enter", "freeze", "thaw"],
    &["make", "enter", "freeze", "thaw", "leave"],
];

fn killed_at_every_step(by: FrozenBy) {
    let root = Root::live();
    for steps in STEPS {
        let victim = Victim::start("nanosleep").unwrap();
        let pid = pid(&victim);
        let home = groups_of(pid);
        let tree = stop(pid);
        let plan = freeze::hold(&root, &tree, &[by], |_| Ok(())).unwrap();
        let _undo = Undo(&plan);
        plan.thaw(&root).unwrap();
        let [group] = plan.groups.as_slice() else {
            panic!("{plan:?}");
        };
        assert!(group.moved.is_some() && !group.path.exists());
        let (file, words) = match by {
            FrozenBy::CgroupV1 => ("freezer.state", ["THAWED", "FROZEN"]),
            _ => ("cgroup.freeze", ["0", "1"]),
        };
        for step in steps {
            let write = |path: std::path::PathBuf, word: &str| std::fs::write(path, word).unwrap();
            let above = group.path.parent().unwrap();
            match *step {
                "make" => std::fs::create_dir(&group.path).unwrap(),
                "enter" => write(group.path.join("cgroup.procs"), &pid.to_string()),
                "freeze" => write(group.path.join(file), words[1]),
                "thaw" => write(group.path.join(file), words[0]),
                _ => write(above.join("cgroup.procs"), &pid.to_string()),
            }
        }
        tree.release(); // as the kill does
        std::thread::sleep(Duration::from_millis(20));
        plan.thaw(&root).unwrap();
        assert!(!group.path.exists(), "{steps:?}: a group is left");
        assert_eq!(groups_of(pid), home, "{steps:?}");
        let before = switches(pid);
        while switches(pid) == before {
            std::thread::sleep(Duration::from_millis(5)); // it hangs here if it stands
        }
        victim
            .end()
            .unwrap_or_else(|error| panic!("{steps:?}: {error}"));
    }
}

#[test]
fn killed_at_every_step_by_cgroup_v2() {
    need!(Root, CgroupV2);
    killed_at_every_step(FrozenBy::CgroupV2);
}

#[test]
fn killed_at_every_step_by_cgroup_v1() {
    need!(Root, CgroupV1Freezer);
    killed_at_every_step(FrozenBy::CgroupV1);
}

#[test]
fn what_somebody_froze_is_an_obstacle() {
    need!(Root, CgroupV2, CgroupV1Freezer);
    let root = Root::live();
    for by in [FrozenBy::CgroupV2, FrozenBy::CgroupV1] {
        let victim = Victim::start("nanosleep").unwrap();
        let tree = stop(pid(&victim));
        let plan = freeze::hold(&root, &tree, &[by], |_| Ok(())).unwrap();
        let undo = Undo(&plan);
        tree.release();
        plan.confirm(&root, PATIENCE).unwrap();
        let frozen = crate::looking::look(pid(&victim)).obstacles;
        assert_eq!(frozen, [Obstacle::Frozen]);
        drop(undo);
        assert_eq!(crate::looking::look(pid(&victim)).obstacles, []);
        victim.end().unwrap();
    }
}

#[test]
fn what_job_control_had_stopped_is_stopped_afterwards() {
    need!(Root, CgroupV2, CgroupV1Freezer);
    let root = Root::live();
    for by in FrozenBy::ALL {
        let victim = Victim::start("nanosleep").unwrap();
        let pid = pid(&victim);
        kill_process(victim.pid(), Signal::STOP).unwrap();
        while state_of(pid) != 'T' {
            std::thread::yield_now();
        }
        let tree = stop(pid);
        let plan = freeze::hold(&root, &tree, &[by], |_| Ok(())).unwrap();
        let undo = Undo(&plan);
        assert!(plan.members.iter().all(|member| member.stopped_before));
        tree.release();
        plan.confirm(&root, PATIENCE).unwrap();
        drop(undo);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(state_of(pid), 'T', "{by:?}: it runs");
        kill_process(victim.pid(), Signal::CONT).unwrap();
        victim
            .end()
            .unwrap_or_else(|error| panic!("{by:?}: {error}"));
    }
}

#[test]
fn empty_groups_of_trees_that_are_gone_are_removed() {
    need!(Root, CgroupV2);
    let root = Root::live();
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let victim = Victim::start("nanosleep").unwrap();
    let tree = stop(pid(&victim));
    let plan = freeze::hold(&root, &tree, &[FrozenBy::CgroupV2], |_| Ok(())).unwrap();
    plan.thaw(&root).unwrap();
    tree.release();
    let home = plan.groups[0].path.parent().unwrap();
    let left = home.join(format!("plimsoll-{}", gone.id()));
    let in_use = home.join(format!("plimsoll-{}", pid(&victim)));
    let anothers = home.join(format!("plimsoll-x{}", std::process::id()));
    let all = [&left, &in_use, &anothers];
    for path in all {
        std::fs::create_dir(path).unwrap();
    }
    freeze::sweep(&root).unwrap();
    let there = all.map(|path| path.exists());
    for path in all {
        let _ = std::fs::remove_dir(path);
    }
    assert_eq!(there, [false, true, true]);
    victim.end().unwrap();
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
