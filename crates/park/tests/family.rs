//! A family that shares memory since a fork: stored once, dropped everywhere, and right in each of them afterwards.

use crate::surgeon::{Theatre, Verb};
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;
use std::time::Duration;

/// Processes of the victim.
const FAMILY: u64 = 4;

fn family() -> (Theatre, Victim) {
    (Theatre::new(), Victim::start("family").unwrap())
}

/// Resident anonymous bytes.
fn anonymous(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib << 10
}

#[test]
fn shared_pages_are_stored_once_and_leave_every_process() {
    need!(Root, Userfaultfd, Kpageflags);
    let (theatre, victim) = family();
    for round in 0..3 {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        let record = theatre.record(&victim).unwrap();
        assert_eq!(record.processes.len() as u64, FAMILY);
        for process in &record.processes {
            assert!(anonymous(process.name.pid) < 512 << 10);
        }
        // When it has come back once, each has its own copy.
        let copies = record.copies_bytes;
        match round {
            0 => assert!(copies > 2 * record.moved_bytes && copies < 4 * record.moved_bytes),
            _ => assert_eq!(copies, 0),
        }
        assert!(theatre.run(Verb::Resume, &victim, None).success());
        std::thread::sleep(Duration::from_millis(20));
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn what_somebody_outside_of_the_tree_shares_stays() {
    need!(Root, Userfaultfd, Kpageflags);
    let (theatre, victim) = family();
    assert!(theatre.run(Verb::ParkOnly, &victim, None).success());
    let record = theatre.record(&victim).unwrap();
    assert_eq!((record.processes.len(), record.copies_bytes), (1, 0));
    assert!(anonymous(record.processes[0].name.pid) > 8 << 20);
    assert!(theatre.run(Verb::Resume, &victim, None).success());
    theatre.assert_clean(&victim);
    victim.end().unwrap();
}

#[test]
fn killed_while_shared_pages_leave_it_can_be_taken_up() {
    need!(Root, Userfaultfd, Kpageflags);
    for step in ["durable", "dropped", "finished", "shared-dropped"] {
        let (theatre, victim) = family();
        let killed = theatre.run(Verb::Park, &victim, Some(step));
        assert!(!killed.success(), "{step} was not reached");
        theatre.assert_taken_up(victim, step);
    }
}

#[test]
fn killed_at_any_instant_a_family_can_be_taken_up() {
    need!(Root, Userfaultfd, Kpageflags);
    let (theatre, victim) = family();
    for instant in 0..12u64 {
        theatre.run_and_kill(Verb::Park, &victim, Duration::from_millis(instant * 25));
        theatre.resume_if_parked(&victim);
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}
