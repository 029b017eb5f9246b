//! A guard that runs: what its turns allocate, and what they do to a host at rest.

use crate::ALLOCATOR;
use plimsoll_cgroup::mount;
use plimsoll_guard::hand::LONGEST_PACKET;
use plimsoll_guard::hand::crew::{Hire, packets};
use plimsoll_guard::notify::Manager;
use plimsoll_guard::scribe::LONGEST;
use plimsoll_guard::{Guard, Policy, Setup, control};
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_testkit::{OwnGroup, need};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::{Value, json};
use stats_alloc::Region;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

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
    let scratch = TempDir::new().unwrap();
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
        holds: None,
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
        let task: Value = serde_json::from_slice(head).unwrap();
        let outcome = json!({
            "id": task["id"], "of": task["deed"], "ended": "refused", "freed_bytes": 0, "took_ms": 1,
        });
        let answer = format!("{outcome}\nit says \"no\"");
        if send(io::stdin(), answer.as_bytes(), SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

/// A host where all that there is counts as low, so that there is always something to be done; with one workload, and no other.
struct Trouble {
    /// Of the processes in it, the largest is worth an act.
    _group: OwnGroup,
    hog: Child,
    scratch: TempDir,
    policy: Policy,
}

impl Trouble {
    fn make(name: &str) -> Self {
        let group = OwnGroup::v1("memory", name).unwrap();
        // What is worth an act is a two-hundredth of the host.
        let meminfo = Meminfo::parse(&Root::live().read("proc/meminfo").unwrap());
        let fill = meminfo.mem_total.unwrap().get() / 150;
        let hog = group.shell(&format!(
            "head -c {fill} /dev/zero | tail -c {fill} | sleep 1000"
        ));
        let scratch = TempDir::new().unwrap();
        let name = group.path().file_name().unwrap().to_str().unwrap();
        let text = format!(
            "[pressure]\nlow = \"99%\"\nfloor = \"99%\"\n[pace]\nretry = \"1ms\"\nsettle = \"1ms\"\n\
             [files]\nrun = \"{}\"\nrecording = \"/nowhere\"\n\
             [[workload]]\nmatch = \"*/{name}\"\n[[workload]]\nmatch = \"*\"\nladder = []\n",
            scratch.path().join("run").display()
        );
        Self {
            hog: hog.unwrap(),
            scratch,
            policy: Policy::parse(&text).unwrap(),
            _group: group,
        }
    }

    /// A guard amid it, and where what it writes arrives.
    fn guard<'t>(&'t self, dry_run: bool, hire: Box<Hire<'t>>) -> (Guard<'t>, OwnedFd) {
        let (pen, theirs) = packets().unwrap();
        let setup = Setup {
            policy: self.policy.clone(),
            dry_run,
            hierarchy: mount::memory(&Root::live()).unwrap().into_iter().next(),
            parked: self.scratch.path(),
            holds: None,
            hire,
            scribe: (pen, 0),
            manager: Manager::default(),
        };
        let guard = Guard::prepare(setup, &mut |_, _| {}).unwrap();
        (guard, theirs)
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let _ = self.hog.kill();
        let _ = self.hog.wait();
    }
}

/// Turns until something that the guard wrote says so.
fn turn_until(
    guard: &mut Guard<'_>,
    theirs: &OwnedFd,
    packet: &mut [u8],
    mut so: impl FnMut(&str) -> bool,
) {
    let mut is_so = false;
    while !is_so {
        std::thread::sleep(Duration::from_millis(10));
        guard.turn(true);
        while let Ok((_, length @ 1..)) = recv(theirs, &mut *packet, RecvFlags::DONTWAIT) {
            let told = packet.get(..length).unwrap_or_default();
            is_so |= so(std::str::from_utf8(told).unwrap());
        }
    }
}

#[test]
fn acting_and_hearing_of_it_allocates_nothing() {
    need!(Root, CgroupV1Memory);
    let trouble = Trouble::make("hog");
    let (mut guard, theirs) = trouble.guard(false, Box::new(unable));
    let mut packet = vec![0; LONGEST];
    let (mut acts, mut answers) = (0, 0);
    let region = Region::new(ALLOCATOR);
    turn_until(&mut guard, &theirs, &mut packet, |told| {
        acts += usize::from(told.contains("over its guarantee"));
        answers += usize::from(told.contains("it says \"no\""));
        acts > 0 && answers > 0
    });
    let change = region.change();
    assert_eq!(
        (
            change.allocations,
            change.reallocations,
            change.deallocations
        ),
        (0, 0, 0)
    );
}

/// What is only said is neither done nor has it failed; whoever reads the recording can tell.
#[test]
fn what_is_only_said_is_counted_as_told_of() {
    need!(Root, CgroupV1Memory);
    let trouble = Trouble::make("told-of");
    let (mut guard, theirs) = trouble.guard(true, Box::new(mute));
    let mut packet = vec![0; LONGEST];
    turn_until(&mut guard, &theirs, &mut packet, |told| {
        told.starts_with('R') && told.contains("\"ended\":\"only_said\"")
    });
    let run = trouble.scratch.path().join("run");
    let asking = std::thread::spawn(move || control::ask(&run).unwrap());
    while !asking.is_finished() {
        guard.turn(true);
    }
    let status: Value = serde_json::from_str(&asking.join().unwrap()).unwrap();
    let counts = &status["counts"];
    assert!(counts["acts"].as_u64() > Some(0), "{counts}");
    assert_eq!(
        (&counts["done"], &counts["not_done"]),
        (&json!(0), &json!(0))
    );
}
