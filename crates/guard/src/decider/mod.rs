//! What to do next: pure. State, policy and an [`Observation`] go in; acts come out.
//!
//! One look goes: rates ([`gauge`](self)) -> how bad it is ([`level`](self)) -> what each rung would bring with each workload
//! (`rungs`) -> who, by which rung (`choose`) -> or, when all is calm, who comes back (`returns`). At most one act of a kind is
//! under way with a workload; after each, its effect is waited for. Nothing here allocates once a [`State`] is made.

mod act;
mod choose;
mod gauge;
mod known;
mod level;
mod returns;
mod rungs;
#[cfg(test)]
mod tests;

pub use act::{Act, PassedOver, RUNNERS_UP, Reason, RunnerUp, Score, Whom, WhyNot};
pub use gauge::Rates;
pub use known::MOST_WORKLOADS;
pub use level::{Level, Marks, Sign, look_again_in_ms};

use crate::config::{Policy, Rung};
use crate::observation::{Deed, Host, Id, Observation};
use gauge::Gauge;
use known::AllKnown;
use level::Course;
use plimsoll_units::Bytes;
use rungs::Scene;

/// The most acts that one look brings forth.
pub const MOST_ACTS: usize = 4;

/// How many slow acts are under way at a time: as many as there are hands.
pub const HANDS: usize = 2;

/// An act that frees what it should and has not ended by then is no longer waited for before something harsher.
const PATIENCE_MS: u64 = 8000;

/// For so long ahead room is made for what is going on.
const AHEAD_S: u64 = 3;

/// Everything that is remembered from one look to the next.
#[derive(Debug)]
pub struct State {
    gauge: Gauge,
    course: Course,
    known: AllKnown,
    flights: [Option<Flight>; HANDS],
    /// When the last act was begun, or ended.
    acted_ms: Option<u64>,
    /// When somebody large was gone, or the kernel had killed.
    relieved_ms: Option<u64>,
    /// When it was last said that nothing can be done.
    refused_ms: Option<u64>,
    level: Level,
}

/// An act under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    id: Id,
    deed: Deed,
    since_ms: u64,
    expected: Bytes,
}

impl Default for State {
    fn default() -> Self {
        Self {
            gauge: Gauge::default(),
            course: Course::default(),
            known: AllKnown::new(),
            flights: [None; HANDS],
            acted_ms: None,
            relieved_ms: None,
            refused_ms: None,
            level: Level::Calm,
        }
    }
}

impl State {
    /// How bad it was at the last look.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    fn hear(&mut self, seen: &Observation) {
        for outcome in &seen.outcomes {
            let over = |flight: &mut Flight| flight.id == outcome.id && flight.deed == outcome.of;
            for flight in &mut self.flights {
                if flight.take_if(over).is_some() {
                    self.acted_ms = Some(seen.at_ms);
                }
            }
            // What came back took its room at once, and that says nothing of what others take.
            if outcome.of == Deed::Resume {
                self.gauge.begin_anew();
            }
        }
    }

    fn is_busy(&self, id: Id) -> bool {
        self.flights.iter().flatten().any(|flight| flight.id == id)
    }

    fn has_a_hand(&self) -> bool {
        self.flights.iter().any(Option::is_none)
    }

    /// What acts that are under way, and not for too long, may still bring.
    fn hoped_for(&self, at_ms: u64) -> Bytes {
        let flights = self.flights.iter().flatten();
        let young = flights.filter(|flight| at_ms.saturating_sub(flight.since_ms) < PATIENCE_MS);
        young.map(|flight| flight.expected).sum()
    }

    /// Notes an act that is begun.
    fn begin(&mut self, whom: &Whom, at_ms: u64) {
        self.acted_ms = Some(at_ms);
        if let Some(known) = self.known.find(whom.id, 0) {
            match whom.deed {
                Deed::Rung(rung) => known.try_now(rung, at_ms),
                Deed::Thaw | Deed::Resume => known.come_back(at_ms),
            }
        }
        if matches!(whom.deed, Deed::Rung(Rung::Freeze | Rung::Kill)) {
            self.gauge.begin_anew();
        }
        if is_slow(whom.deed)
            && let Some(free) = self.flights.iter_mut().find(|flight| flight.is_none())
        {
            *free = Some(Flight {
                id: whom.id,
                deed: whom.deed,
                since_ms: at_ms,
                expected: whom.expected_bytes,
            });
        }
    }
}

/// Whether a helper does it, and says later how it went. The others are done at once.
#[must_use]
pub const fn is_slow(deed: Deed) -> bool {
    !matches!(deed, Deed::Thaw | Deed::Rung(Rung::Freeze | Rung::Kill))
}

/// Decides. A glance brings no act forth, only the level that says whether a whole look is due. `acts` is emptied first, and takes [`MOST_ACTS`] at most.
pub fn decide(policy: &Policy, state: &mut State, seen: &Observation, acts: &mut Vec<Act>) {
    acts.clear();
    let (at_ms, host) = (seen.at_ms, &seen.host);
    state.gauge.add(at_ms, host);
    if seen.glance {
        let marks = Marks::of(policy, host);
        let judged = level::judge(policy, host, &state.gauge.rates(), &marks);
        state.level = state.level.max(judged.0);
        return;
    }
    let gone_bytes = state.known.learn(policy, seen);
    state.hear(seen);
    let marks = Marks::of(policy, host);
    let rates = state.gauge.rates();
    let judged = level::judge(policy, host, &rates, &marks);
    let (level, sign) = state
        .course
        .go_on(at_ms, judged, host, &marks, &policy.pace);
    state.level = level;
    if state.course.has_killed(at_ms) || gone_bytes.get() >= host.total_bytes.get() / 20 {
        state.relieved_ms = Some(at_ms);
    }
    let exhausted_in_ms = level::gone_in_ms(host, rates.declined_bytes);
    let thrash = policy.pressure.thrash.of(host.total_bytes);
    let thrashing = rates.go_round_bytes() >= thrash;
    let reason = Reason {
        level,
        sign,
        available_bytes: host.available_bytes,
        swap_free_bytes: host.swap_free_bytes,
        marks,
        rates,
        exhausted_in_ms,
        need_bytes: need(host, &rates, &marks, thrashing),
        ..Reason::default()
    };
    let scene = Scene {
        policy,
        at_ms,
        level,
        host,
        marks: &marks,
        exhausted_in_ms,
        thrashing,
        for_who_waits: false,
        nothing_gentler: false,
    };
    let act = match level {
        Level::Pressed | Level::Dire => choose::down(state, &scene, seen, &reason),
        Level::Easing | Level::Calm => returns::back(state, &scene, seen, &reason)
            .or_else(|| make_room(state, &scene, seen, &reason)),
    };
    let act = act.or_else(|| choose::idle(state, &scene, seen, &reason));
    if let Some(act) = act {
        match &act.whom {
            Some(whom) => state.begin(whom, at_ms),
            None => state.refused_ms = Some(at_ms),
        }
        acts.push(act);
    }
}

/// What has to leave. Acts take time, in which it goes on; and what goes round has no room, whatever is available.
fn need(host: &Host, rates: &Rates, marks: &Marks, thrashing: bool) -> Bytes {
    let ahead = Bytes(rates.declined_bytes.get().saturating_mul(AHEAD_S));
    let lacks = marks.enough_bytes + ahead - host.available_bytes;
    let round = if thrashing {
        rates.go_round_bytes()
    } else {
        Bytes::ZERO
    };
    lacks.max(round)
}

/// Work that stands still, with no room for it: those that are idle leave as if there were pressure.
fn make_room(state: &State, scene: &Scene<'_>, seen: &Observation, reason: &Reason) -> Option<Act> {
    let wanted = returns::wanted(state, scene, seen)?;
    let need_bytes = wanted - scene.host.available_bytes;
    if need_bytes == Bytes::ZERO {
        return None;
    }
    let scene = Scene {
        level: Level::Pressed,
        for_who_waits: true,
        ..*scene
    };
    let reason = Reason {
        sign: Sign::WorkWaits,
        need_bytes,
        ..*reason
    };
    choose::down(state, &scene, seen, &reason)
}
