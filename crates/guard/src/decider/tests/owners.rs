//! What an owner asked for, and what is not ours.

use super::*;

#[test]
fn the_idle_policy_parks_those_that_it_names_and_no_others() {
    let mut world = World::new(
        4096,
        vec![workload("/agents/a", 100), workload("/other", 100)],
    );
    world.workloads[0].shown.shield = Some(Shield::SessionLeader); // it is named: its owner knows
    world.policy = Policy::parse("[[workload]]\nmatch = \"/agents/*\"\nidle = \"10s\"\n").unwrap();
    world.run(9);
    assert!(world.acts.is_empty());
    world.run(11);
    assert_eq!(
        world.told(),
        [("/agents/a".to_owned(), Deed::Rung(Rung::Park))]
    );
    assert_eq!(world.acts[0].whom.unwrap().cause, Cause::Idle);
    world.run(60);
    assert_eq!(world.acts.len(), 1, "input brings it back, not calm");
}

#[test]
fn what_others_froze_is_not_ours_to_thaw() {
    let mut world = World::new(4096, vec![workload("/a", 100)]);
    world.workloads[0].shown.standing = Standing::Frozen;
    world.run(120);
    assert!(world.acts.is_empty());
}

#[test]
fn the_mark_and_the_guarantee_and_the_priority_of_an_owner_count() {
    let policy = "[[workload]]\nmatch = \"/dear\"\npriority = 5\n\
                  [[workload]]\nmatch = \"/sure\"\nguarantee = \"2G\"\n";
    let mut all = vec![
        workload("/dear", 300),
        workload("/sure", 300),
        workload("/avoid", 300),
        workload("/omit", 300),
    ];
    all[2].shown.mark = Mark::Avoid;
    all[3].shown.mark = Mark::Omit;
    all.extend([workload("/plain", 300), hog("/hog", 10)]);
    let mut world = World::new(2048, all);
    world.workloads[5].up_to = 480 * MIB;
    world.policy = Policy::parse(policy).unwrap();
    world.run(120);
    let parked = world.did(Rung::Park);
    assert_eq!(
        parked.first().map(String::as_str),
        Some("/plain"),
        "{parked:?}"
    );
    assert!(
        !parked.contains(&"/omit".to_owned()) && !parked.contains(&"/sure".to_owned()),
        "{parked:?}"
    );
}
