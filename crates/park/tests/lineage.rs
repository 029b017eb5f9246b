//! Trees that fork while they get their memory back: no heir reads anything but what it inherited, whichever of pager
//! and guardian is killed.

use crate::surgeon::{Theatre, Verb};
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;
use std::time::Duration;

/// Steps that a child is known by, in order.
const BIRTH: [&str; 5] = [
    "guarded",
    "fork-read",
    "child-found",
    "child-equipped",
    "child-adopted",
];

/// Rounds until the victim forks early enough.
const TRIES: usize = 40;

/// Parks, and resumes with a kill at `step`, until that is reached.
fn killed_at(theatre: &Theatre, victim: &Victim, step: &str) {
    for _ in 0..TRIES {
        assert!(theatre.run(Verb::Park, victim, None).success(), "{step}");
        if !theatre.run(Verb::Resume, victim, Some(step)).success() {
            return;
        }
    }
    panic!("{step} was not reached");
}

#[test]
fn heirs_wait_for_the_next_pager() {
    need!(Root, Userfaultfd);
    for step in BIRTH {
        let (theatre, victim) = (Theatre::new(), Victim::start("lineage").unwrap());
        killed_at(&theatre, &victim, step);
        theatre.assert_taken_up(victim, step);
    }
}

#[test]
fn an_heir_with_a_descriptor_of_its_own_needs_no_guardian() {
    need!(Root, Userfaultfd);
    for step in ["child-equipped", "child-adopted"] {
        let (theatre, victim) = (Theatre::new(), Victim::start("heir").unwrap());
        killed_at(&theatre, &victim, step);
        theatre.kill_guardian();
        theatre.assert_taken_up(victim, step);
    }
}

#[test]
fn a_guardian_that_is_killed_is_replaced() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = (Theatre::new(), Victim::start("lineage").unwrap());
    for round in 0..12u64 {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        let mut pager = theatre.start(Verb::Resume, &victim, None);
        let mut killed = 0;
        for _ in 0..round {
            std::thread::sleep(Duration::from_millis(5));
            killed += usize::from(theatre.kill_guardian());
        }
        // The last needs a moment to be replaced: only both at once are too many.
        std::thread::sleep(Duration::from_millis(60));
        pager.kill().unwrap();
        pager.wait().unwrap();
        theatre.resume_if_parked(&victim);
        theatre.assert_clean(&victim);
        assert!(
            victim.is_alive(),
            "round {round}, {killed} guardians killed"
        );
    }
    victim.end().unwrap();
}

#[test]
fn killed_at_any_instant_of_a_fork_it_can_be_taken_up() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = (Theatre::new(), Victim::start("lineage").unwrap());
    for instant in 0..16u64 {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        for again in [5, 3] {
            let after = Duration::from_millis(20 + instant * again);
            theatre.run_and_kill(Verb::Resume, &victim, after);
        }
        theatre.resume_if_parked(&victim);
        theatre.assert_clean(&victim);
        assert!(victim.is_alive(), "instant {instant}");
    }
    victim.end().unwrap();
}
