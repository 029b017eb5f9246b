//! Who comes back, and when.

use super::*;

#[test]
fn what_was_taken_down_comes_back_one_at_a_time_when_there_is_room() {
    let mut world = World::new(
        4096,
        vec![workload("/a", 600), workload("/b", 600), hog("/build", 200)],
    );
    world.workloads[2].up_to = 2600 * MIB;
    world.run(30);
    let parked = world.did(Rung::Park).len();
    assert!(parked >= 1, "{:?}", world.told());
    let build = world
        .workloads
        .iter()
        .position(|sim| sim.shown.name.as_str() == "/build")
        .unwrap();
    world.workloads.remove(build); // it has ended
    world.run(60);
    let back: Vec<_> = world
        .acts
        .iter()
        .filter(|act| {
            act.whom
                .is_some_and(|whom| matches!(whom.deed, Deed::Thaw | Deed::Resume))
        })
        .collect();
    assert!(back.len() >= parked, "{:?}", world.told());
    for pair in back.windows(2) {
        assert!(pair[1].at_ms - pair[0].at_ms >= world.policy.pace.between_returns.0);
    }
    assert!(
        world
            .workloads
            .iter()
            .all(|sim| sim.shown.standing == Standing::Running)
    );
}

#[test]
fn work_that_waits_for_room_comes_back_before_what_was_idle() {
    let mut all: Vec<_> = (0..5)
        .map(|n| workload(&format!("/agents/{n}"), 64))
        .collect();
    all.push(hog("/build", 18));
    all[5].up_to = 310 * MIB;
    let mut world = World::new(500, all);
    world.run(600);
    let build = world
        .workloads
        .iter()
        .find(|sim| sim.shown.name.as_str() == "/build")
        .unwrap();
    assert_eq!(
        build.shown.standing,
        Standing::Running,
        "{:?}",
        world.told()
    );
    assert_eq!(
        build.shown.anon_bytes,
        Bytes(310 * MIB),
        "it got all it wanted: {:?}",
        world.told()
    );
    assert!(world.did(Rung::Kill).is_empty() && world.did(Rung::Stop).is_empty());
}

/// As it was in a guest of 512 MiB: the build was parked, and each agent that came back took a part of its room.
#[test]
fn a_build_that_is_too_fast_is_frozen_and_gets_the_room_of_the_idle() {
    for mib_a_second in [20, 40, 100, 400] {
        let mut all: Vec<_> = (0..12)
            .map(|n| workload(&format!("/agents/{n}"), 25))
            .collect();
        all.push(hog("/build", 0));
        all[12].shown.anon_bytes = Bytes(MIB);
        let mut world = World::new(420, all);
        world.run(8); // the agents are idle by then
        world.workloads[12].grows = mib_a_second * MIB;
        world.workloads[12].up_to = 300 * MIB;
        let mut ended_s = 0;
        while world.workloads[12].shown.anon_bytes < Bytes(300 * MIB) && ended_s < 120 {
            world.run(1);
            ended_s += 1;
        }
        let told = world.told();
        assert!(
            ended_s < 60 + 300 / mib_a_second,
            "at {mib_a_second} MiB/s, {ended_s} s: {told:?}"
        );
        assert!(
            world.did(Rung::Kill).is_empty() && world.did(Rung::Stop).is_empty(),
            "{told:?}"
        );
        assert!(
            !told
                .iter()
                .any(|(name, deed)| name != "/build" && *deed == Deed::Resume),
            "{told:?}"
        );
    }
}

/// Input wakes it, at any time, and its memory follows within a second: frozen for that, it could not answer.
#[test]
fn one_that_comes_back_does_not_grow() {
    let mut all: Vec<_> = (0..8)
        .map(|n| workload(&format!("/agents/{n}"), 100))
        .collect();
    all.push(hog("/build", 0));
    let mut world = World::new(1024, all);
    world.run(8); // the agents are idle by then
    (world.workloads[8].grows, world.workloads[8].up_to) = (20 * MIB, 300 * MIB);
    world.run(30);
    let parked = world.did(Rung::Park);
    assert!(parked[0].starts_with("/agents/"), "{:?}", world.told());
    let woken = world
        .workloads
        .iter_mut()
        .find(|sim| sim.shown.name.as_str() == parked[0])
        .unwrap();
    (woken.shown.standing, woken.shown.stopped_for) = (Standing::Running, None);
    (woken.grows, woken.up_to, woken.busy) = (300 * MIB, 100 * MIB, true);
    // Somebody else makes it dire meanwhile.
    world.workloads.push(hog("/hog", 200));
    world.run(2);
    let frozen = world.did(Rung::Freeze);
    assert!(
        frozen.contains(&"/hog".to_owned()) && !frozen.contains(&parked[0]),
        "{:?}",
        world.told()
    );
}

/// There is less room than anything comes back into, and no pressure: more of the idle leave for work that waits, and for that alone.
#[test]
fn a_guard_that_is_started_again_knows_who_was_idle() {
    for was_idle in [true, false] {
        let mut idle: Vec<_> = (0..8)
            .map(|n| workload(&format!("/agents/{n}"), 128))
            .collect();
        let parked = &mut idle[0].shown;
        parked.anon_bytes = Bytes(MIB);
        parked.standing = Standing::Parked;
        parked.stopped_for = Some(Cause::Pressure);
        parked.was_idle = was_idle;
        let mut world = World::new(1024, idle);
        world.run(60);
        assert_eq!(world.acts.is_empty(), was_idle, "{:?}", world.told());
    }
}
