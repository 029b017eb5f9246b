//! Living trees, parked and resumed: no wrong byte, no dead or hung victim, nothing left over; whatever is killed
//! at whatever step.

use crate::surgeon::{Theatre, Verb};
use plimsoll_park::known::Standing;
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;
use std::time::Duration;

/// Steps of parking at which a plimsoll may be killed, in order.
const PARKING: [&str; 11] = [
    "stopped",
    "recorded",
    "store-made",
    "equipped",
    "armed",
    "durable",
    "about-to-drop",
    "dropped",
    "finished",
    "held",
    "let-go",
];

/// Steps of resuming.
const RESUMING: [&str; 8] = [
    "resuming",
    "thawed",
    "back",
    "disarmed",
    "closed",
    "returned",
    "store-removed",
    "forgotten",
];

fn memory() -> (Theatre, Victim) {
    (Theatre::new(), Victim::start("memory").unwrap())
}

#[test]
fn round_after_round_nothing_changes() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    for round in 0..8 {
        let parked = theatre.run(Verb::Park, &victim, None);
        assert!(parked.success(), "round {round}");
        let resumed = theatre.run(Verb::Resume, &victim, None);
        assert!(resumed.success(), "round {round}: {resumed}");
        std::thread::sleep(Duration::from_millis(20 * round));
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn lazily_it_runs_on_until_all_is_wanted_or_its_pager_dies() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    for killed in [false, true] {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        let mut pager = theatre.start(Verb::ResumeLazily, &victim, None);
        theatre.wait_until_lazy(&victim);
        std::thread::sleep(Duration::from_millis(100)); // it checks itself meanwhile
        assert_eq!(pager.try_wait().unwrap(), None);
        if killed {
            pager.kill().unwrap();
            pager.wait().unwrap();
        }
        assert!(theatre.run(Verb::Resume, &victim, None).success());
        assert_eq!(pager.wait().unwrap().success(), !killed);
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn what_nobody_asks_for_waits_for_room_or_for_the_end() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    let wake_without_room = || {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        theatre.has_room(false);
        let mut pager = theatre.start(Verb::Wake, &victim, None);
        theatre.wait_until(&victim, Standing::Resuming);
        std::thread::sleep(Duration::from_millis(100)); // it checks itself meanwhile
        assert_eq!(pager.try_wait().unwrap(), None);
        pager
    };
    let mut pager = wake_without_room();
    theatre.has_room(true);
    assert!(pager.wait().unwrap().success());
    theatre.assert_clean(&victim);

    let mut pager = wake_without_room();
    drop(victim); // killed
    assert!(pager.wait().unwrap().success());
    assert_eq!(theatre.stores(), 0);
}

#[test]
fn a_pager_ends_with_its_process() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    assert!(theatre.run(Verb::Park, &victim, None).success());
    let mut pager = theatre.start(Verb::ResumeLazily, &victim, None);
    theatre.wait_until_lazy(&victim);
    drop(victim); // killed
    assert!(pager.wait().unwrap().success());
    assert_eq!(theatre.stores(), 0);
}

#[test]
fn nonsense_for_first_touches_changes_nothing() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    for _ in 0..3 {
        assert!(theatre.run(Verb::Park, &victim, None).success());
        assert!(theatre.run(Verb::Resume, &victim, None).success());
        assert_eq!(theatre.damage_first_touches(), 1);
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn killed_at_any_step_of_parking_it_can_be_taken_up() {
    need!(Root, Userfaultfd);
    for step in PARKING {
        let (theatre, victim) = memory();
        let killed = theatre.run(Verb::Park, &victim, Some(step));
        assert!(!killed.success(), "{step} was not reached");
        theatre.assert_taken_up(victim, step);
    }
}

#[test]
fn killed_at_any_step_of_resuming_it_can_be_taken_up() {
    need!(Root, Userfaultfd);
    for step in RESUMING {
        let (theatre, victim) = memory();
        assert!(theatre.run(Verb::Park, &victim, None).success());
        let killed = theatre.run(Verb::Resume, &victim, Some(step));
        if step != "forgotten" {
            assert!(!killed.success(), "{step} was not reached");
        }
        theatre.assert_taken_up(victim, step);
    }
}

#[test]
fn killed_at_any_instant_it_can_be_taken_up() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    for instant in 0..16u64 {
        theatre.run_and_kill(Verb::Park, &victim, Duration::from_millis(instant * 12));
        theatre.resume_if_parked(&victim);
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn interrupted_it_is_as_before() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    for _ in 0..3 {
        let refused = theatre.run(Verb::ParkInterrupted, &victim, None);
        assert!(!refused.success());
        theatre.assert_clean(&victim);
    }
    victim.end().unwrap();
}

#[test]
fn a_damaged_store_is_told_and_nobody_gets_a_wrong_page() {
    need!(Root, Userfaultfd);
    let (theatre, victim) = memory();
    assert!(theatre.run(Verb::Park, &victim, None).success());
    theatre.damage_store();
    let refused = theatre.run(Verb::Resume, &victim, None);
    assert!(!refused.success());
    assert_eq!(theatre.stores(), 1, "the store is kept");
    // The victim waits: it can be ended, and then all is cleared away.
    let pid = victim.pid();
    drop(victim);
    assert!(!theatre.is_parked(pid));
    assert_eq!(theatre.stores(), 0);
}

#[test]
fn by_swap_too_nothing_changes() {
    need!(Root, Swap);
    for kind in ["memory", "family"] {
        let (theatre, victim) = (Theatre::new(), Victim::start(kind).unwrap());
        for round in 0..3 {
            assert!(
                theatre.run(Verb::ParkBySwap, &victim, None).success(),
                "round {round}"
            );
            assert!(theatre.is_parked(victim.pid()));
            assert!(
                theatre.run(Verb::Resume, &victim, None).success(),
                "round {round}"
            );
            theatre.assert_clean(&victim);
        }
        victim.end().unwrap();
    }
}
