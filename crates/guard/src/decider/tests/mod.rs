//! The decider against a host that is simulated: workloads grow, acts take effect, and what happens is looked at.

mod down;
mod owners;
mod properties;
mod returns;

use super::*;
use crate::name::Name;
use crate::observation::{Cause, Ended, Host, Mark, Outcome, Shield, Standing, Workload};

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
    /// It takes so long to end when it is asked to.
    ends_after_ms: u64,
    ends_at_ms: Option<u64>,
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
        ends_after_ms: 0,
        ends_at_ms: None,
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
    /// So much is wanted again in a second, and so many thousandths of the time some stand still for it.
    refaults: u64,
    stalls: u64,
    /// Whether all stand still then, not only some.
    all_stall: bool,
    refaulted: u64,
    stood_us: u64,
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
            refaults: 0,
            stalls: 0,
            all_stall: false,
            refaulted: 0,
            stood_us: 0,
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
            refaulted_bytes: Bytes(self.refaulted),
            some_us: Some(self.stood_us),
            full_us: self.all_stall.then_some(self.stood_us),
            ..Host::default()
        }
    }

    fn step(&mut self) {
        self.at_ms += STEP_MS;
        self.refaulted += self.refaults * STEP_MS / 1000;
        self.stood_us += self.stalls * STEP_MS;
        for sim in &mut self.workloads {
            if sim.shown.standing == Standing::Running {
                let more = sim.grows * STEP_MS / 1000;
                let anon = sim.shown.anon_bytes.get();
                sim.shown.anon_bytes = Bytes((anon + more).min(sim.up_to.max(anon)));
                sim.shown.cpu_us += u64::from(sim.busy) * STEP_MS * 1000;
            }
        }
        self.workloads
            .retain(|sim| sim.ends_at_ms.is_none_or(|at| at > self.at_ms));
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
            Deed::Rung(Rung::Stop) if sim.ends_after_ms > 0 => {
                sim.ends_at_ms = Some(self.at_ms + sim.ends_after_ms);
            }
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
