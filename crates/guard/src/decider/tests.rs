//! The decider against a host that is simulated: workloads grow, acts take effect, and what happens is looked at.

use super::*;
use crate::name::Name;
use crate::observation::{Cause, Ended, Host, Mark, Outcome, Shield, Standing, Workload};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const STEP_MS: u64 = 100;

/// A workload of the simulation.
#[derive(Debug, Clone, Copy)]
struct Sim {
    shown: Workload,
    /// It wants so much more in a second.
    grows: u64,
    /// And stops at this.
    up_to: u64,
    busy: bool,
    /// What the hands answer when they are to park it.
    parks: Ended,
    /// What is out.
    parked: Bytes,
}

fn workload(name: &str, mib: u64) -> Sim {
    let place = name.bytes().fold(7, |sum: u64, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    Sim {
        shown: Workload {
            id: Id::Group(place),
            name: Name::of(name.as_bytes()),
            usage_bytes: Bytes(mib * MIB),
            anon_bytes: Bytes(mib * MIB),
            can_freeze: true,
            can_reclaim: true,
            ..Workload::default()
        },
        grows: 0,
        up_to: u64::MAX,
        busy: false,
        parks: Ended::Done,
        parked: Bytes::ZERO,
    }
}

fn hog(name: &str, mib_a_second: u64) -> Sim {
    Sim {
        grows: mib_a_second * MIB,
        busy: true,
        ..workload(name, 50)
    }
}

/// A host of so many MiB, all of it available but for what its workloads hold.
#[derive(Debug)]
struct World {
    total: u64,
    swap: u64,
    workloads: Vec<Sim>,
    /// Acts of the hands that end later: when, whose, what.
    ahead: Vec<(u64, Whom)>,
    policy: Policy,
    state: State,
    at_ms: u64,
    outcomes: Vec<Outcome>,
    acts: Vec<Act>,
    /// Whether memory ever was used up to the last.
    exhausted: bool,
}

impl World {
    fn new(total_mib: u64, workloads: Vec<Sim>) -> Self {
        Self {
            total: total_mib * MIB,
            swap: 0,
            workloads,
            ahead: Vec::new(),
            policy: Policy::default(),
            state: State::default(),
            at_ms: 1000,
            outcomes: Vec::new(),
            acts: Vec::new(),
            exhausted: false,
        }
    }

    fn host(&self) -> Host {
        let used: u64 = self
            .workloads
            .iter()
            .map(|sim| sim.shown.anon_bytes.get())
            .sum();
        let swapped: u64 = self
            .workloads
            .iter()
            .map(|sim| sim.shown.swap_bytes.get())
            .sum();
        Host {
            total_bytes: Bytes(self.total),
            available_bytes: Bytes(self.total.saturating_sub(used)),
            swap_total_bytes: Bytes(self.swap),
            swap_free_bytes: Bytes(self.swap.saturating_sub(swapped)),
            ..Host::default()
        }
    }

    fn step(&mut self) {
        self.at_ms += STEP_MS;
        for sim in &mut self.workloads {
            if sim.shown.standing == Standing::Running {
                let more = sim.grows * STEP_MS / 1000;
                let anon = sim.shown.anon_bytes.get();
                sim.shown.anon_bytes = Bytes((anon + more).min(sim.up_to.max(anon)));
                sim.shown.cpu_us += u64::from(sim.busy) * STEP_MS * 1000;
            }
        }
        let host = self.host();
        self.exhausted |= host.available_bytes == Bytes::ZERO;
        let due = self.ahead.extract_if(.., |(when, _)| *when <= self.at_ms);
        for (_, whom) in due.collect::<Vec<_>>() {
            self.take_effect(&whom);
        }
        let seen = Observation {
            at_ms: self.at_ms,
            host: self.host(),
            workloads: self.workloads.iter().map(|sim| sim.shown).collect(),
            outcomes: std::mem::take(&mut self.outcomes),
            ..Observation::default()
        };
        let mut acts = Vec::with_capacity(MOST_ACTS);
        decide(&self.policy, &mut self.state, &seen, &mut acts);
        for act in acts {
            self.acts.push(act);
            let Some(whom) = act.whom else { continue };
            if is_slow(whom.deed) {
                let takes = whom.expected_bytes.get() / (500 * MIB / 1000) + 50;
                self.ahead.push((self.at_ms + takes, whom));
                // Whoever is being parked stands still at once.
                if whom.deed == Deed::Rung(Rung::Park)
                    && let Some(sim) = self
                        .workloads
                        .iter_mut()
                        .find(|sim| sim.shown.id == whom.id)
                    && sim.parks == Ended::Done
                {
                    sim.shown.standing = Standing::Parked;
                    sim.shown.stopped_for = Some(whom.cause);
                    sim.shown.was_idle = whom.was_idle;
                }
            } else {
                self.take_effect(&whom);
            }
        }
    }

    fn take_effect(&mut self, whom: &Whom) {
        let Some(sim) = self
            .workloads
            .iter_mut()
            .find(|sim| sim.shown.id == whom.id)
        else {
            return;
        };
        let shown = &mut sim.shown;
        let mut ended = Ended::Done;
        match whom.deed {
            Deed::Thaw => (shown.standing, shown.stopped_for) = (Standing::Running, None),
            Deed::Resume => {
                (shown.standing, shown.stopped_for) = (Standing::Running, None);
                shown.anon_bytes += std::mem::take(&mut sim.parked);
            }
            Deed::Rung(Rung::Freeze) => {
                (shown.standing, shown.stopped_for) = (Standing::Frozen, Some(Cause::Pressure));
            }
            Deed::Rung(Rung::PageOut) => {
                shown.swap_bytes += whom.expected_bytes;
                shown.anon_bytes = shown.anon_bytes - whom.expected_bytes;
            }
            Deed::Rung(Rung::Park) if sim.parks == Ended::Done => {
                sim.parked = shown.anon_bytes - Bytes(MIB);
                shown.anon_bytes = Bytes(MIB);
            }
            Deed::Rung(Rung::Park) => ended = sim.parks,
            Deed::Rung(Rung::Stop | Rung::Kill) => {
                let id = whom.id;
                self.workloads.retain(|sim| sim.shown.id != id);
            }
            Deed::Rung(Rung::Reclaim | Rung::Checkpoint) => {}
        }
        self.outcomes.push(Outcome {
            id: whom.id,
            of: whom.deed,
            ended,
            freed_bytes: whom.expected_bytes,
            took_ms: 1,
        });
    }

    fn run(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds * 1000 / STEP_MS {
            self.step();
        }
        self
    }

    /// What was done to whom, in order, told once where it was repeated.
    fn told(&self) -> Vec<(String, Deed)> {
        let mut told: Vec<_> = self
            .acts
            .iter()
            .filter_map(|act| act.whom.map(|whom| (whom.name.to_string(), whom.deed)))
            .collect();
        told.dedup();
        told
    }

    fn did(&self, rung: Rung) -> Vec<String> {
        let did = |(name, deed): (String, Deed)| (deed == Deed::Rung(rung)).then_some(name);
        self.told().into_iter().filter_map(did).collect()
    }
}

#[test]
fn an_instant_hog_is_frozen_then_parked_and_nobody_else_is_touched() {
    let mut world = World::new(4096, vec![workload("/db", 1000), hog("/hog", 800)]);
    world.workloads[0].busy = true;
    world.workloads[1].up_to = 3000 * MIB;
    world.run(20);
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
        "let go on while there was room, then parked: {told:?}"
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
