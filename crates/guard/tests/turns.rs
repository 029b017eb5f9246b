//! A guard that runs: what its turns allocate, and what they do to a host at rest.

use crate::ALLOCATOR;
use plimsoll_cgroup::mount;
use plimsoll_guard::hand::crew::packets;
use plimsoll_guard::notify::Manager;
use plimsoll_guard::{Guard, Policy, Setup};
use plimsoll_proc::Root;
use stats_alloc::Region;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

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
