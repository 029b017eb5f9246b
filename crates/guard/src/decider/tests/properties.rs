//! What holds of any host and any numbers.

use super::*;
use proptest::prelude::*;

fn any_workload() -> impl Strategy<Value = Sim> {
    let shields = prop::option::weighted(
        0.2,
        prop::sample::select(vec![
            Shield::Itself,
            Shield::Init,
            Shield::SessionLeader,
            Shield::HoldsLock,
        ]),
    );
    let marks = prop::sample::select(vec![Mark::None, Mark::None, Mark::Avoid, Mark::Omit]);
    let grows = prop::sample::select(vec![0, 0, 5, 50, 500]);
    (0..400_u64, grows, any::<[bool; 3]>(), shields, marks).prop_map(
        |(mib, grows, flags, shield, mark)| {
            let [busy, can_freeze, can_reclaim] = flags;
            let mut sim = workload("", mib);
            sim.grows = grows * MIB;
            sim.busy = busy;
            sim.shown = Workload {
                shield,
                mark,
                can_freeze,
                can_reclaim,
                ..sim.shown
            };
            sim
        },
    )
}

fn any_world() -> impl Strategy<Value = World> {
    let workloads = prop::collection::vec(any_workload(), 0..12);
    (workloads, 512..3000_u64, 0..2000_u64).prop_map(|(mut workloads, total, swap)| {
        for (place, sim) in (0..).zip(&mut workloads) {
            sim.shown.id = Id::Group(place);
            sim.shown.name = Name::of(format!("/{place}").as_bytes());
        }
        let mut world = World::new(total, workloads);
        world.swap = swap * MIB;
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn who_is_spared_is_never_touched(mut world in any_world()) {
        let spared: Vec<_> = world.workloads.iter()
            .filter(|sim| sim.shown.shield.is_some() || sim.shown.mark == Mark::Omit)
            .map(|sim| sim.shown.id)
            .collect();
        world.run(30);
        for whom in world.acts.iter().filter_map(|act| act.whom) {
            prop_assert!(!spared.contains(&whom.id), "{whom:?}");
        }
    }

    #[test]
    fn nobody_is_ended_before_all_that_could_be_parked_was(mut world in any_world()) {
        let parkable: Vec<_> = world.workloads.iter()
            .filter(|sim| sim.shown.shield.is_none() && sim.shown.mark != Mark::Omit)
            .filter(|sim| sim.shown.anon_bytes >= Bytes(32 * MIB) && sim.grows == 0)
            .map(|sim| sim.shown.id)
            .collect();
        world.run(40);
        let ends = |act: &Act| act.whom.is_some_and(|whom| matches!(whom.deed, Deed::Rung(rung) if rung.loses_work()));
        if let Some(first) = world.acts.iter().position(ends) {
            for id in parkable {
                let taken = |act: &Act| act.whom.is_some_and(|whom| whom.id == id);
                let earlier = world.acts.get(..first).unwrap_or_default();
                prop_assert!(earlier.iter().any(taken), "{id:?} was passed over: {:?}", world.told());
            }
        }
    }

    #[test]
    fn the_same_is_decided_again(world in any_world(), times in prop::collection::vec(0..5000_u64, 1..40)) {
        let mut seen = Observation { workloads: world.workloads.iter().map(|sim| sim.shown).collect(), ..Observation::default() };
        let (mut one, mut other) = (State::default(), State::default());
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for time in times {
            seen.at_ms = time; // it may even go back
            seen.host = world.host();
            decide(&world.policy, &mut one, &seen, &mut first);
            let line = serde_json::to_string(&seen).unwrap();
            decide(&world.policy, &mut other, &serde_json::from_str(&line).unwrap(), &mut second);
            prop_assert_eq!(&first, &second);
        }
    }

    #[test]
    fn any_numbers_are_borne(numbers in prop::collection::vec(any::<[u64; 12]>(), 1..20)) {
        let mut state = State::default();
        let mut acts = Vec::new();
        for [at_ms, total, available, swap, free, some, full, anon, held, cpu, id, kills] in numbers {
            let seen = Observation {
                at_ms,
                host: Host {
                    total_bytes: Bytes(total), available_bytes: Bytes(available),
                    swap_total_bytes: Bytes(swap), swap_free_bytes: Bytes(free),
                    some_us: Some(some), full_us: Some(full), oom_kills: kills,
                    swapped_in_bytes: Bytes(held), swapped_out_bytes: Bytes(anon), refaulted_bytes: Bytes(cpu),
                },
                workloads: vec![Workload {
                    id: Id::Group(id % 2), anon_bytes: Bytes(anon), swap_bytes: Bytes(held), cpu_us: cpu,
                    can_freeze: true, can_reclaim: true, ..Workload::default()
                }],
                ..Observation::default()
            };
            decide(&Policy::default(), &mut state, &seen, &mut acts);
            prop_assert!(acts.len() <= MOST_ACTS);
        }
    }
}
