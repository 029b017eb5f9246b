//! Who is taken down the ladder, when, and by which rung.

use super::*;

#[test]
fn an_instant_hog_is_frozen_then_parked_and_nobody_else_is_touched() {
    let mut world = World::new(4096, vec![workload("/db", 1000), hog("/hog", 800)]);
    world.workloads[0].busy = true;
    world.workloads[1].up_to = 3000 * MIB;
    world.run(120);
    assert!(!world.exhausted);
    let told = world.told();
    assert_eq!(
        told[0],
        ("/hog".to_owned(), Deed::Rung(Rung::Freeze)),
        "{told:?}"
    );
    assert_eq!(
        world.did(Rung::Park),
        ["/hog"],
        "let go on while there was room, in the end parked: {told:?}"
    );
    assert!(told.iter().all(|(name, _)| name == "/hog"), "{told:?}");
    let reason = world.acts[0].reason;
    assert_eq!((reason.level, reason.sign), (Level::Dire, Sign::SoonUsedUp));
}

/// It took all in the seconds between two surveys: the first that is seen of it is what it has.
#[test]
fn a_hog_that_has_just_appeared_is_frozen() {
    let mut world = World::new(1024, vec![workload("/db", 700)]);
    world.workloads[0].busy = true;
    world.run(8);
    let mut new = hog("/hog", 0);
    new.shown.anon_bytes = Bytes(300 * MIB);
    world.workloads.push(new);
    world.run(1);
    let first = world.told().first().cloned();
    assert_eq!(first, Some(("/hog".to_owned(), Deed::Rung(Rung::Freeze))));

    let mut world = World::new(1024, vec![workload("/db", 700)]);
    world.run(8);
    world.workloads.push(workload("/agent", 100)); // it is new, and does nothing
    world.run(3);
    world.workloads.push(hog("/build", 400));
    world.run(3);
    let frozen = world.did(Rung::Freeze);
    assert!(
        !frozen.is_empty() && frozen.iter().all(|name| name == "/build"),
        "{frozen:?}"
    );
}

/// There is no rate of one that is seen for the first time, and no time to wait for one.
#[test]
fn who_appears_when_it_is_dire_is_frozen_at_the_first_look() {
    let mut world = World::new(1024, vec![workload("/db", 970)]);
    world.workloads[0].busy = true;
    world.run(8);
    assert!(world.acts.is_empty(), "{:?}", world.told());
    let mut new = hog("/hog", 0);
    new.shown.anon_bytes = Bytes(20 * MIB);
    world.workloads.push(new);
    world.step();
    assert_eq!(
        world.told(),
        [("/hog".to_owned(), Deed::Rung(Rung::Freeze))]
    );
}

#[test]
fn a_slow_leak_beside_idle_work_has_the_idle_parked_first() {
    let mut idle: Vec<_> = (0..10)
        .map(|n| workload(&format!("/agents/{n}"), 64))
        .collect();
    idle.push(hog("/build", 20));
    idle[10].up_to = 500 * MIB;
    let mut world = World::new(1024, idle);
    world.run(60);
    assert!(!world.exhausted);
    let parked = world.did(Rung::Park);
    assert!(
        !parked.is_empty() && parked.iter().all(|name| name.starts_with("/agents/")),
        "{parked:?}"
    );
    assert!(world.did(Rung::Freeze).is_empty() && world.did(Rung::Kill).is_empty());
}

#[test]
fn with_swap_what_is_idle_is_paged_out_before_anything_is_parked() {
    let mut world = World::new(1024, vec![workload("/idle", 500), hog("/build", 20)]);
    world.swap = 1024 * MIB;
    world.workloads[1].up_to = 450 * MIB;
    world.run(60);
    assert_eq!(
        world.told().first(),
        Some(&("/idle".to_owned(), Deed::Rung(Rung::PageOut)))
    );
    assert!(world.did(Rung::Kill).is_empty());
}

/// As it was in a guest with swap: every other daemon let this build live.
#[test]
fn nobody_is_ended_for_a_fast_start_where_swap_is_left() {
    let mut world = World::new(1024, vec![workload("/db", 600), hog("/build", 120)]);
    let text = "[[workload]]\nmatch = \"*\"\nladder = [\"stop\", \"kill\"]\n";
    world.policy = Policy::parse(text).unwrap();
    world.swap = 1024 * MIB;
    world.workloads[1].up_to = 340 * MIB;
    world.run(20);
    assert!(world.acts.is_empty(), "{:?}", world.told());
}

#[test]
fn it_kills_the_hog_when_nothing_else_can_be_done_and_nothing_before_that() {
    let mut world = World::new(1024, vec![workload("/db", 300), hog("/hog", 100)]);
    for sim in &mut world.workloads {
        sim.parks = Ended::Refused;
        sim.busy = true;
        sim.shown.can_freeze = false;
    }
    world.run(30);
    assert_eq!(
        world.did(Rung::Kill).len() + world.did(Rung::Stop).len(),
        1,
        "{:?}",
        world.told()
    );
    let last = world
        .told()
        .into_iter()
        .rfind(|(_, deed)| matches!(deed, Deed::Rung(rung) if rung.loses_work()));
    assert_eq!(last.unwrap().0, "/hog");
    assert_eq!(world.workloads.len(), 1);
    let refused = world.did(Rung::Park);
    assert!(
        refused.contains(&"/hog".to_owned()) && refused.contains(&"/db".to_owned()),
        "{refused:?}"
    );
}

#[test]
fn a_refusal_is_told_and_not_repeated_all_the_time() {
    let mut world = World::new(1024, vec![hog("/hog", 50)]);
    world.workloads[0].shown.mark = Mark::Omit;
    world.workloads[0].up_to = 1020 * MIB;
    world.run(60);
    let refusals = world.acts.iter().filter(|act| act.whom.is_none()).count();
    assert!(
        (1..=2).contains(&refusals) && world.acts.len() == refusals,
        "{refusals}"
    );
}

#[test]
fn ten_minutes_of_healthy_load_bring_nothing_about() {
    // A build that swings between 0.5 and 2 GiB of 4, stalls now and then, and a cache that is written through.
    let mut state = State::default();
    let policy = Policy::default();
    let mut acts = Vec::new();
    let mut some = 0;
    for second in 0..600_u64 {
        let swing = (second % 60) * 25 * MIB;
        some += if second % 7 == 0 { 150_000 } else { 1000 };
        let mut build = workload("/build", 500).shown;
        build.anon_bytes = Bytes(500 * MIB + swing);
        build.cpu_us = second * 1_900_000;
        let seen = Observation {
            at_ms: second * 1000,
            host: Host {
                total_bytes: Bytes(4096 * MIB),
                available_bytes: Bytes(3300 * MIB - swing),
                some_us: Some(some),
                full_us: Some(some / 2),
                ..Host::default()
            },
            workloads: vec![build, workload("/idle", 300).shown],
            ..Observation::default()
        };
        decide(&policy, &mut state, &seen, &mut acts);
        assert!(acts.is_empty(), "{second}: {acts:?}");
    }
}

/// Files that are read over and over, in less room than they need: a third of the host is available, and none of it helps.
#[test]
fn who_thrashes_gets_the_room_of_the_idle_without_waiting_for_what_one_brings() {
    let mut all: Vec<_> = (0..8)
        .map(|n| workload(&format!("/agents/{n}"), 64))
        .collect();
    all.push(Sim {
        busy: true,
        ..workload("/reader", 10)
    });
    let mut world = World::new(640, all);
    world.run(8); // the agents are idle by then
    assert!(world.acts.is_empty(), "{:?}", world.told());
    (world.stalls, world.refaults) = (400, 100 * MIB);
    world.run(3);
    let parked = world.did(Rung::Park);
    assert!(
        parked.len() >= 4 && parked.iter().all(|name| name.starts_with("/agents/")),
        "{:?}",
        world.told()
    );
    assert_eq!(parked.len(), world.told().len(), "{:?}", world.told());
}

/// A world where nothing gentler is allowed.
fn ends_only(mut workloads: Vec<Sim>) -> World {
    for sim in &mut workloads {
        sim.shown.can_freeze = false;
    }
    let mut world = World::new(1024, workloads);
    let text = "[[workload]]\nmatch = \"*\"\nladder = [\"stop\", \"kill\"]\n";
    world.policy = Policy::parse(text).unwrap();
    world
}

/// As it was in a guest: the kernel had just killed the hog, its memory was not back yet, and an idle one was asked to end for it.
#[test]
fn nobody_is_ended_for_what_one_who_is_gone_had_taken() {
    let mut world = ends_only(vec![
        workload("/a", 100),
        workload("/b", 100),
        hog("/hog", 400),
    ]);
    while world.host().available_bytes >= Bytes(100 * MIB) {
        world.step();
    }
    assert!(world.acts.is_empty(), "{:?}", world.told());
    let host = Host {
        available_bytes: Bytes::ZERO,
        ..world.host()
    };
    world.workloads.pop();
    let mut acts = Vec::with_capacity(MOST_ACTS);
    let asked_after = (1..20).find(|step| {
        let seen = Observation {
            at_ms: world.at_ms + step * STEP_MS,
            host,
            workloads: world.workloads.iter().map(|sim| sim.shown).collect(),
            ..Observation::default()
        };
        decide(&world.policy, &mut world.state, &seen, &mut acts);
        !acts.is_empty()
    });
    assert_eq!(asked_after, Some(6), "it was not that: somebody is asked");
}

/// As it was in a guest: a hog was asked, and while it was ending, an idle one was.
#[test]
fn nobody_else_is_asked_while_one_that_was_asked_is_ending() {
    let all = |ends_after_ms| {
        let mut hog = hog("/hog", 100);
        hog.up_to = 800 * MIB;
        hog.ends_after_ms = ends_after_ms;
        vec![workload("/a", 100), workload("/b", 100), hog]
    };
    let mut world = ends_only(all(1000));
    world.run(30);
    assert_eq!(world.told(), [("/hog".to_owned(), Deed::Rung(Rung::Stop))]);

    let mut world = ends_only(all(u64::MAX / 2)); // it never does
    world.run(30);
    let deeds = [Rung::Stop, Rung::Kill].map(|rung| ("/hog".to_owned(), Deed::Rung(rung)));
    assert_eq!(world.told(), deeds);
}

/// As it was in a guest: five idle ones were ended because files that somebody read had no room.
#[test]
fn nobody_is_ended_for_pages_that_come_and_go_while_there_is_memory() {
    let mut world = ends_only(vec![workload("/a", 300), workload("/b", 300)]);
    (world.stalls, world.refaults) = (900, 200 * MIB);
    world.all_stall = true;
    world.run(20);
    assert!(world.did(Rung::Stop).is_empty() && world.did(Rung::Kill).is_empty());
    assert_eq!(world.state.level(), Level::Dire, "and yet it is dire");
}
