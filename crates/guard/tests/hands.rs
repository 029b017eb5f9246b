//! Hands that die, get stuck, or lose their guard; groups with hostile names; notes that a guard left.

use plimsoll_cgroup::mount::{self, Hierarchy};
use plimsoll_cgroup::v1::FreezerState;
use plimsoll_cgroup::write::{Group, frozen};
use plimsoll_guard::config::{Extent, Policy, Rung};
use plimsoll_guard::hand::crew::{CREW, Crew, packets};
use plimsoll_guard::hand::work::Tools;
use plimsoll_guard::hand::{Task, release, serve};
use plimsoll_guard::observation::{Cause, Deed, Ended, Id, Observation, Outcome, Shield, Standing};
use plimsoll_guard::watch::{Watch, all};
use plimsoll_park::runtime::Runtime;
use plimsoll_park::store::Place;
use plimsoll_proc::Root;
use plimsoll_proc::mountinfo;
use plimsoll_proc::process::stat::Stat;
use plimsoll_testkit::{OwnGroup, apart, need};
use plimsoll_units::Bytes;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn policy(scratch: &Path) -> Policy {
    let run = scratch.join("run");
    Policy::parse(&format!("[files]\nrun = \"{}\"\n", run.display())).unwrap()
}

fn unified() -> Hierarchy {
    let mounts = mountinfo::parse(&Root::live().read("proc/self/mountinfo").unwrap());
    mount::v2(&mounts).unwrap()
}

fn tools(scratch: &Path) -> Tools {
    Tools {
        policy: policy(scratch),
        hierarchy: Some(unified()),
        runtime: Runtime::at(scratch.join("runtime")).unwrap(),
        place: Place::new(vec![scratch.join("stores")]),
        program: "/bin/false".into(),
    }
}

/// What freezes a group, and where that lies.
fn freezing(group: &OwnGroup) -> (Task, std::ffi::OsString) {
    let below = group.path().strip_prefix(unified().mount_point).unwrap();
    let task = Task {
        id: Id::Group(std::fs::metadata(group.path()).unwrap().ino()),
        deed: Deed::Rung(Rung::Freeze),
        cause: Cause::Pressure,
        was_idle: false,
        extent: Extent::Group,
        rule: None,
        expected_bytes: Bytes::ZERO,
    };
    (task, Path::new("/").join(below).into_os_string())
}

fn is_asked_to_freeze(group: &OwnGroup) -> bool {
    let group = Group::open(unified().version, group.path()).unwrap();
    frozen::state(&group).unwrap() != Some(FreezerState::Thawed)
}

#[test]
fn what_is_frozen_runs_again_when_the_guard_is_gone() {
    need!(Root, CgroupV2);
    let scratch = tempfile::tempdir().unwrap();
    let tools = tools(scratch.path());
    std::fs::create_dir_all(scratch.path().join("run/stopped")).unwrap();
    let group = OwnGroup::v2("guard-thaw").unwrap();
    let mut sleeper = group.shell("sleep 1000").unwrap();
    let (task, path) = freezing(&group);
    tools.perform(&task, &path).unwrap();
    assert!(is_asked_to_freeze(&group));
    let noted = all(&scratch.path().join("run")).unwrap();
    assert_eq!(noted.len(), 1);
    assert_eq!(
        (noted[0].0.standing, noted[0].0.id),
        (Standing::Frozen, task.id)
    );

    // The guard is killed: its end of the socket closes.
    let (ours, theirs) = packets().unwrap();
    drop(ours);
    serve(&theirs, &tools, true).unwrap();
    assert!(!is_asked_to_freeze(&group));
    assert!(all(&scratch.path().join("run")).unwrap().is_empty());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn what_is_left_of_a_guard_whose_hands_were_killed_too_is_released() {
    need!(Root, CgroupV2);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("run/stopped")).unwrap();
    let group = OwnGroup::v2("guard-left").unwrap();
    let (task, path) = freezing(&group);
    tools(scratch.path()).perform(&task, &path).unwrap();
    // Also what makes no sense, and what is gone.
    std::fs::write(
        scratch.path().join("run/stopped/frozen-pressure-g1"),
        "/nowhere",
    )
    .unwrap();
    std::fs::write(scratch.path().join("run/stopped/nonsense"), "").unwrap();
    let (released, failed) = release(&tools(scratch.path()));
    assert_eq!((released, failed.len()), (1, 1), "{failed:?}");
    assert!(!is_asked_to_freeze(&group));
}

#[test]
fn a_group_that_is_another_by_now_is_left_alone() {
    need!(Root, CgroupV2);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("run/stopped")).unwrap();
    let group = OwnGroup::v2("guard-other").unwrap();
    let (task, path) = freezing(&group);
    let other = Task {
        id: Id::Group(1),
        ..task
    };
    assert_eq!(
        tools(scratch.path())
            .perform(&other, &path)
            .unwrap_err()
            .to_string(),
        "it has ended"
    );
    assert!(!is_asked_to_freeze(&group));
}

/// Processor time of a process, user and system, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
    let stat = Stat::parse(&text).unwrap();
    stat.utime + stat.stime
}

#[test]
fn what_is_frozen_does_not_run_before_it_is_parked() {
    need!(Root, CgroupV2, Userfaultfd);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("run/stopped")).unwrap();
    let tools = tools(scratch.path());
    let group = OwnGroup::v2("guard-hog").unwrap();
    let hog = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); while :; do :; done";
    let mut hog = group.shell(hog).unwrap();
    // It has its memory, and is at work.
    while ticks(hog.id()) < 20 {
        std::thread::yield_now();
    }
    let (freeze, path) = freezing(&group);
    tools.perform(&freeze, &path).unwrap();
    let stands = || frozen::state(&Group::open(unified().version, group.path()).unwrap());
    while stands().unwrap() != Some(FreezerState::Frozen) {
        std::thread::yield_now();
    }
    let before = ticks(hog.id());
    let park = Task {
        deed: Deed::Rung(Rung::Park),
        ..freeze
    };
    let moved = tools.perform(&park, &path).unwrap();
    assert!(moved > Bytes::from_mib(4), "{moved}");
    let ran = ticks(hog.id()) - before;
    assert!(ran <= 3, "it ran for {ran} ticks on its way out");
    let noted = all(&scratch.path().join("run")).unwrap();
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].0.standing, Standing::Parked);
    tools
        .perform(
            &Task {
                deed: Deed::Resume,
                ..freeze
            },
            &path,
        )
        .unwrap();
    let back = ticks(hog.id());
    while ticks(hog.id()) == back {
        std::thread::yield_now();
    }
    hog.kill().unwrap();
    hog.wait().unwrap();
}

#[test]
fn a_group_that_can_not_be_written_is_passed_over() {
    need!(Root, CgroupV2);
    apart!();
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("run/stopped")).unwrap();
    let group = OwnGroup::v2("guard-read-only").unwrap();
    let (task, path) = freezing(&group);
    // As in a container that was given the control groups to read.
    let top = unified().mount_point;
    let mut mount = Command::new("mount");
    let mount = mount.args(["--bind", "-o", "ro"]).arg(&top).arg(&top);
    assert!(mount.status().unwrap().success());
    let refused = tools(scratch.path()).perform(&task, &path).unwrap_err();
    let unmounted = Command::new("umount").arg(&top).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(refused.ended(), Ended::Refused, "{refused}");
    assert!(!is_asked_to_freeze(&group));
    assert!(all(&scratch.path().join("run")).unwrap().is_empty());
}

/// A hand that never answers.
fn stuck(socket: OwnedFd, _thaws: bool) -> io::Result<Child> {
    Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(socket))
        .spawn()
}

fn heard(crew: &mut Crew, now_ms: u64) -> Vec<(Outcome, String)> {
    let mut heard = Vec::new();
    crew.hear(now_ms, 60_000, &mut |outcome, words| {
        heard.push((*outcome, String::from_utf8_lossy(words).into_owned()));
    });
    heard
}

#[test]
fn a_hand_that_is_stuck_is_given_up_and_replaced() {
    let mut crew = Crew::start(&mut stuck).unwrap();
    let task = Task {
        id: Id::Group(7),
        deed: Deed::Rung(Rung::Park),
        cause: Cause::Pressure,
        was_idle: false,
        extent: Extent::Group,
        rule: None,
        expected_bytes: Bytes::ZERO,
    };
    assert!(crew.give(&task, b"/a", 1000) && crew.give(&task, b"/b", 1000));
    assert!(!crew.give(&task, b"/c", 1000), "both slow hands are busy");
    let hired: Vec<u32> = crew.pids().collect();
    assert!(heard(&mut crew, 61_000).is_empty());
    let outcomes = heard(&mut crew, 61_001);
    assert_eq!(outcomes.len(), 2);
    for (outcome, _) in outcomes {
        assert_eq!(
            (outcome.ended, outcome.id, outcome.took_ms),
            (Ended::Overdue, Id::Group(7), 60_001)
        );
    }
    assert!(crew.is_short() && !crew.lacks_the_quick_one());
    let [_, slow @ ..] = hired.as_slice() else {
        panic!("{hired:?}")
    };
    for pid in slow {
        while Path::new(&format!("/proc/{pid}")).exists() {
            heard(&mut crew, 61_002); // it stays a zombie until it is waited for
        }
    }
    assert_eq!(crew.fill(&mut stuck).unwrap(), 2);
    assert!(crew.give(&task, b"/c", 62_000));
    end(&crew);
}

#[test]
fn a_hand_that_dies_is_noticed() {
    let mut crew = Crew::start(&mut stuck).unwrap();
    let task = Task {
        id: Id::Group(7),
        deed: Deed::Thaw,
        cause: Cause::Pressure,
        was_idle: false,
        extent: Extent::Group,
        rule: None,
        expected_bytes: Bytes::ZERO,
    };
    assert!(crew.give(&task, b"/a", 0));
    end(&crew);
    let mut outcomes = Vec::new();
    while crew.pids().next().is_some() {
        outcomes.extend(heard(&mut crew, 1));
    }
    assert!(crew.lacks_the_quick_one());
    let [(outcome, words)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!((outcome.ended, outcome.of), (Ended::Failed, Deed::Thaw));
    assert!(words.contains("has ended"), "{words}");
}

/// Kills all hands that are there.
fn end(crew: &Crew) {
    for pid in crew.pids() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

/// Looks at what the memory controller governs, with the guard's files below `scratch`.
fn watch_in(scratch: &Path) -> Watch {
    let memory = mount::memory(&Root::live()).unwrap().remove(0);
    let (run, parked) = (scratch.join("run"), scratch.join("parked"));
    Watch::open(Some(&memory), &run, &parked, None).unwrap()
}

#[test]
fn who_holds_a_lock_that_others_wait_for_is_spared() {
    need!(Root, CgroupV1Memory);
    let scratch = tempfile::tempdir().unwrap();
    let group = OwnGroup::v1("memory", "guard-lock").unwrap();
    let file = scratch.path().join("lock");
    let hold = format!("exec flock --no-fork {} sleep 1000", file.display());
    let mut holder = group.shell(&hold).unwrap();
    let waits = || {
        let text = std::fs::read_to_string("/proc/locks").unwrap();
        let mut lines = text.lines();
        lines.any(|line| line.contains(&format!(" {} ", holder.id())))
            && lines.next().is_some_and(|next| next.contains("->"))
    };
    let wait = || {
        Command::new("flock")
            .arg(&file)
            .arg("true")
            .spawn()
            .unwrap()
    };
    // Whoever comes first has it.
    while !std::fs::read_to_string("/proc/locks")
        .unwrap()
        .contains(&format!(" {} ", holder.id()))
    {
        std::thread::yield_now();
    }
    let mut waiter = wait();
    while !waits() {
        std::thread::yield_now();
    }
    let mut watch = watch_in(scratch.path());
    let inode = std::fs::metadata(group.path()).unwrap().ino();
    let shield = |seen: &Observation| {
        let mut all = seen.workloads.iter();
        all.find(|one| one.id == Id::Group(inode)).unwrap().shield
    };
    assert_eq!(shield(watch.look(0, [None; CREW])), Some(Shield::HoldsLock));
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    watch.look_further();
    assert_eq!(shield(watch.look(0, [None; CREW])), None);
    waiter = wait();
    while !waits() {
        std::thread::yield_now();
    }
    // It is known as of the last time that somebody looked further.
    assert_eq!(shield(watch.look(0, [None; CREW])), None);
    watch.look_further();
    assert_eq!(shield(watch.look(0, [None; CREW])), Some(Shield::HoldsLock));
    for child in [&mut waiter, &mut holder] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_group_with_a_hostile_name_is_a_workload_like_any_other() {
    need!(Root, CgroupV1Memory);
    let scratch = tempfile::tempdir().unwrap();
    let above = OwnGroup::v1("memory", "guard-name").unwrap();
    let group = above.child(OsStr::from_bytes(b"a\t\x1b[31m\xff*")).unwrap();
    let mut sleeper = group.shell("sleep 1000").unwrap();
    while group.processes().is_empty() {
        std::thread::yield_now();
    }
    let mut watch = watch_in(scratch.path());
    let seen = watch.look(0, [None; CREW]);
    let inode = std::fs::metadata(group.path()).unwrap().ino();
    let one = seen
        .workloads
        .iter()
        .find(|one| one.id == Id::Group(inode))
        .unwrap();
    assert!(
        one.name.as_str().ends_with("a\\x09\\x1b[31m\\xff*"),
        "{}",
        one.name
    );
    assert!(one.usage_bytes > Bytes::ZERO);
    let path = watch.path_of(inode).unwrap().as_bytes();
    assert!(path.ends_with(b"a\t\x1b[31m\xff*"));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}
