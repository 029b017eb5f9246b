//! A guard that runs: what its turns allocate, and what they do to a host at rest.

use crate::ALLOCATOR;
use plimsoll_cgroup::mount;
use plimsoll_guard::hand::LONGEST_PACKET;
use plimsoll_guard::hand::crew::packets;
use plimsoll_guard::notify::Manager;
use plimsoll_guard::scribe::LONGEST;
use plimsoll_guard::{Guard, Policy, Setup};
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_testkit::{OwnGroup, need};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use stats_alloc::Region;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A hand that never answers, and ends when its socket is closed.
fn mute(socket: OwnedFd, _thaws: bool) -> io::Result<Child> {
    Command::new("cat")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .spawn()
}

/// Every test of this binary runs in a process of its own, so that what is counted is its own.
#[test]
fn a_turn_allocates_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    let recording = "/nowhere"; // it is formatted all the same
    let text = format!(
        "[files]\nrun = \"{}\"\nrecording = \"{recording}\"\n",
        run.display()
    );
    let policy = Policy::parse(&text).unwrap();
    let (pen, theirs) = packets().unwrap();
    let setup = Setup {
        policy,
        dry_run: true,
        hierarchy: mount::memory(&Root::live()).unwrap().into_iter().next(),
        parked: &scratch.path().join("parked"),
        hire: Box::new(mute),
        scribe: (pen, 0),
        manager: Manager::default(),
    };
    let mut guard = Guard::prepare(setup, &mut |_, _| {}).unwrap();
    guard.turn(true);
    let region = Region::new(ALLOCATOR);
    for turn in 0..200 {
        guard.turn(turn % 4 == 0);
    }
    let change = region.change();
    assert_eq!(
        (
            change.allocations,
            change.reallocations,
            change.deallocations
        ),
        (0, 0, 0)
    );
    drop(theirs);
}

/// A hand that says of each task that it can't be done, and why.
fn unable(socket: OwnedFd, _thaws: bool) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "turns::a_hand_that_refuses"])
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .spawn()
}

#[test]
#[ignore = "no test: it is what `unable` starts"]
fn a_hand_that_refuses() {
    let mut packet = vec![0; LONGEST_PACKET];
    while let Ok((_, length @ 1..)) = recv(io::stdin(), packet.as_mut_slice(), RecvFlags::empty()) {
        let head = packet[..length]
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap();
        let task: serde_json::Value = serde_json::from_slice(head).unwrap();
        let outcome = serde_json::json!({
            "id": task["id"], "of": task["deed"], "ended": "refused", "freed_bytes": 0, "took_ms": 1,
        });
        let answer = format!("{outcome}\nit says \"no\"");
        if send(io::stdin(), answer.as_bytes(), SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

/// All that there is counts as low here, so that there is always something to be done; with one workload, and no other.
#[test]
fn acting_and_hearing_of_it_allocates_nothing() {
    need!(Root, CgroupV1Memory);
    let group = OwnGroup::v1("memory", "hog").unwrap();
    // What is worth an act is a two-hundredth of the host.
    let meminfo = Meminfo::parse(&Root::live().read("proc/meminfo").unwrap());
    let fill = meminfo.mem_total.unwrap().get() / 150;
    let mut hog = group
        .shell(&format!(
            "head -c {fill} /dev/zero | tail -c {fill} | sleep 1000"
        ))
        .unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let name = group.path().file_name().unwrap().to_str().unwrap();
    let run = scratch.path().join("run");
    let text = format!(
        "[pressure]\nlow = \"99%\"\nfloor = \"99%\"\n[pace]\nretry = \"1ms\"\nsettle = \"1ms\"\n\
         [files]\nrun = \"{}\"\n\
         [[workload]]\nmatch = \"*/{name}\"\n[[workload]]\nmatch = \"*\"\nladder = []\n",
        run.display()
    );
    let (pen, theirs) = packets().unwrap();
    let setup = Setup {
        policy: Policy::parse(&text).unwrap(),
        dry_run: false,
        hierarchy: mount::memory(&Root::live()).unwrap().into_iter().next(),
        parked: &scratch.path().join("parked"),
        hire: Box::new(unable),
        scribe: (pen, 0),
        manager: Manager::default(),
    };
    let mut guard = Guard::prepare(setup, &mut |_, _| {}).unwrap();
    let mut packet = vec![0; LONGEST];
    let (mut acts, mut answers) = (0, 0);
    let region = Region::new(ALLOCATOR);
    while acts == 0 || answers == 0 {
        std::thread::sleep(Duration::from_millis(10));
        guard.turn(true);
        while let Ok((_, length @ 1..)) = recv(&theirs, packet.as_mut_slice(), RecvFlags::DONTWAIT)
        {
            let told = std::str::from_utf8(&packet[..length]).unwrap();
            acts += usize::from(told.contains("over its guarantee"));
            answers += usize::from(told.contains("it says \"no\""));
        }
    }
    let change = region.change();
    drop(group);
    let _ = hog.wait();
    assert_eq!(
        (
            change.allocations,
            change.reallocations,
            change.deallocations
        ),
        (0, 0, 0)
    );
}
