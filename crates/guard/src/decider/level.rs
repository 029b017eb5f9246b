//! How bad it is, with what says so. No single sign is enough: stalls with memory to spare are not about memory, little
//! available memory with swap to spare is no trouble yet, and both come too late when memory goes fast.

use super::gauge::Rates;
use crate::config::{Pace, Policy};
use crate::observation::Host;
use plimsoll_units::Bytes;
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to be done; what was taken down the ladder may come back.
    #[default]
    Calm,
    /// No longer pressed, and not yet for long.
    Easing,
    /// What costs nobody anything is done.
    Pressed,
    /// Work has to stand still, or in the end be lost.
    Dire,
}

/// What says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Nothing.
    #[default]
    None,
    /// `low`
    AvailableIsLow,
    /// `floor`
    AvailableIsBelowTheFloor,
    /// `some`
    SomeStandStill,
    /// `full`
    AllStandStill,
    /// `thrash`
    Thrashing,
    /// `exhaustion`
    SoonUsedUp,
    /// The kernel has killed.
    OomKill,
    /// There is no pressure, and no room for who stands still.
    WorkWaits,
}

impl Sign {
    /// In plain words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::None => "no pressure",
            Self::AvailableIsLow => "available memory is low",
            Self::AvailableIsBelowTheFloor => "available memory is below its floor",
            Self::SomeStandStill => "tasks stand still for want of memory",
            Self::AllStandStill => "all tasks stand still for want of memory",
            Self::Thrashing => "the same pages go out and come back",
            Self::SoonUsedUp => "memory will soon be used up",
            Self::OomKill => "the kernel has killed a process",
            Self::WorkWaits => "work stands still for want of room",
        }
    }
}

/// The marks that the host is held against, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// `low`
    pub low_bytes: Bytes,
    /// `floor`
    pub floor_bytes: Bytes,
    /// What has to be available before anything comes back: a quarter more than `low`.
    pub enough_bytes: Bytes,
}

impl Marks {
    pub(super) fn of(policy: &Policy, host: &Host) -> Self {
        let low = policy.pressure.low.of(host.total_bytes);
        Self {
            low_bytes: low,
            floor_bytes: policy.pressure.floor.of(host.total_bytes),
            enough_bytes: low + Bytes(low.get() / 4),
        }
    }
}

/// In how long available memory will be gone when it loses so much a second; `None` where it does not get less.
#[must_use]
pub(super) fn gone_in_ms(host: &Host, a_second: Bytes) -> Option<u64> {
    let available = host.available_bytes.get().saturating_mul(1000);
    available.checked_div(a_second.get())
}

/// What a second of somebody who is fast may take.
const FASTEST_A_SECOND: u64 = 1 << 30;

/// When to look again: while all is calm, before the fastest could have passed `low`.
#[must_use]
pub fn look_again_in_ms(policy: &Policy, level: Level, host: &Host) -> u64 {
    let pace = &policy.pace;
    if level > Level::Easing {
        return pace.pressed_look.0;
    }
    let room = host.available_bytes - Marks::of(policy, host).low_bytes;
    let lasts_ms = room.get().saturating_mul(1000) / FASTEST_A_SECOND;
    lasts_ms.max(pace.pressed_look.0).min(pace.calm_look.0)
}

/// How this moment looks, taken alone: [`Level::Calm`], [`Level::Pressed`] or [`Level::Dire`].
pub(super) fn judge(policy: &Policy, host: &Host, rates: &Rates, marks: &Marks) -> (Level, Sign) {
    let pressure = &policy.pressure;
    let available = host.available_bytes;
    let low = available < marks.low_bytes;
    let scarce = available < marks.low_bytes + marks.low_bytes;
    let thrash = pressure.thrash.of(host.total_bytes);
    let thrashing = rates.go_round_bytes() >= thrash;
    let stalls = |permille: u64, percent: u8| permille >= u64::from(percent).saturating_mul(10);
    let some = stalls(rates.some_permille, pressure.some.0);
    let full = stalls(rates.full_permille, pressure.full.0);
    let within = |a_second, ms| gone_in_ms(host, a_second).is_some_and(|left| left < ms);
    let soon_ms = pressure.exhaustion.0;
    // What comes and goes in a moment is nothing to make room for, and enough to be stopped for a moment.
    let fastest = rates.declined_bytes.max(rates.plunging_bytes);
    let table = [
        (
            available < marks.floor_bytes && !host.swap_is_left(),
            Level::Dire,
            Sign::AvailableIsBelowTheFloor,
        ),
        (full && (low || thrashing), Level::Dire, Sign::AllStandStill),
        (some && thrashing && low, Level::Dire, Sign::Thrashing),
        (
            scarce && within(fastest, soon_ms / 8),
            Level::Dire,
            Sign::SoonUsedUp,
        ),
        (low, Level::Pressed, Sign::AvailableIsLow),
        (thrashing && some, Level::Pressed, Sign::Thrashing),
        (some && scarce, Level::Pressed, Sign::SomeStandStill),
        (
            scarce && within(rates.declined_bytes, soon_ms),
            Level::Pressed,
            Sign::SoonUsedUp,
        ),
    ];
    let met = table.into_iter().find(|(met, _, _)| *met);
    met.map_or((Level::Calm, Sign::None), |(_, level, sign)| (level, sign))
}

/// The level over time.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// When it last was not calm enough for anything to come back.
    uneasy_at_ms: Option<u64>,
    /// Since when it is dire.
    dire_since_ms: Option<u64>,
    /// The kernel's count of kills.
    oom_kills: Option<u64>,
    /// When it last had killed for want of memory of the host.
    killed_at_ms: Option<u64>,
}

impl Course {
    /// From how a moment looks to the level that counts.
    pub(super) fn go_on(
        &mut self,
        at_ms: u64,
        (judged, sign): (Level, Sign),
        host: &Host,
        marks: &Marks,
        pace: &Pace,
    ) -> (Level, Sign) {
        let killed = self
            .oom_kills
            .replace(host.oom_kills)
            .is_some_and(|before| before < host.oom_kills);
        // A kill within a limit of its own says nothing of the host.
        let scarce = host.available_bytes < marks.enough_bytes;
        if killed && scarce {
            self.killed_at_ms = Some(at_ms);
        }
        let (judged, sign) = if killed && scarce && judged < Level::Dire {
            (Level::Dire, Sign::OomKill)
        } else {
            (judged, sign)
        };
        if judged == Level::Dire {
            self.dire_since_ms.get_or_insert(at_ms);
        } else {
            self.dire_since_ms = None;
        }
        if judged > Level::Calm {
            self.uneasy_at_ms = Some(at_ms);
            return (judged, sign);
        }
        if scarce && self.uneasy_at_ms.is_some() {
            self.uneasy_at_ms = Some(at_ms);
        }
        let since = self.uneasy_at_ms.map(|then| at_ms.saturating_sub(then));
        match since {
            Some(since) if since < pace.calm.0 => (Level::Easing, Sign::None),
            _ => {
                self.uneasy_at_ms = None;
                (Level::Calm, Sign::None)
            }
        }
    }

    /// Whether the kernel was found to have killed at this moment.
    pub(super) fn has_killed(&self, at_ms: u64) -> bool {
        self.killed_at_ms == Some(at_ms)
    }

    /// For how long it has been dire.
    pub(super) fn dire_for_ms(&self, at_ms: u64) -> u64 {
        self.dire_since_ms
            .map_or(0, |since| at_ms.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn host(available_mib: u64, swap_free_mib: u64) -> Host {
        Host {
            total_bytes: Bytes(4 * GIB),
            available_bytes: Bytes(available_mib * MIB),
            swap_total_bytes: Bytes(2 * GIB),
            swap_free_bytes: Bytes(swap_free_mib * MIB),
            ..Host::default()
        }
    }

    #[test]
    fn signs_are_weighed_together() {
        let policy = Policy::default();
        let rates = |some, full, round_mib: u64, refault_mib: u64, decline_mib: u64| Rates {
            some_permille: some,
            full_permille: full,
            swapped_round_bytes: Bytes(round_mib * MIB),
            refaulted_bytes: Bytes(refault_mib * MIB),
            declined_bytes: Bytes(decline_mib * MIB),
            plunging_bytes: Bytes::ZERO,
        };
        // On 4 GiB: low 409 MiB, floor 163 MiB, thrash 81 MiB/s.
        let table = [
            (
                "idle",
                host(3000, 2048),
                rates(0, 0, 0, 0, 0),
                Level::Calm,
                Sign::None,
            ),
            (
                "stalls, memory to spare",
                host(3000, 2048),
                rates(900, 800, 0, 0, 0),
                Level::Calm,
                Sign::None,
            ),
            (
                "a fast start, memory to spare",
                host(3000, 2048),
                rates(0, 0, 0, 0, 1000),
                Level::Calm,
                Sign::None,
            ),
            (
                "little left, swap to spare",
                host(100, 2000),
                rates(0, 0, 0, 0, 0),
                Level::Pressed,
                Sign::AvailableIsLow,
            ),
            (
                "little left, swap full",
                host(100, 10),
                rates(0, 0, 0, 0, 0),
                Level::Dire,
                Sign::AvailableIsBelowTheFloor,
            ),
            (
                "all stand still",
                host(300, 2000),
                rates(900, 400, 0, 0, 0),
                Level::Dire,
                Sign::AllStandStill,
            ),
            (
                "thrash with swap to spare",
                host(350, 1900),
                rates(300, 100, 100, 0, 0),
                Level::Dire,
                Sign::Thrashing,
            ),
            (
                "a cache that comes back",
                host(1000, 0),
                rates(300, 100, 0, 200, 0),
                Level::Pressed,
                Sign::Thrashing,
            ),
            (
                "a hog",
                host(700, 0),
                rates(0, 0, 0, 0, 800),
                Level::Dire,
                Sign::SoonUsedUp,
            ),
            (
                "a hog that has just begun",
                host(700, 0),
                Rates {
                    plunging_bytes: Bytes(800 * MIB),
                    ..rates(0, 0, 0, 0, 60)
                },
                Level::Dire,
                Sign::SoonUsedUp,
            ),
            (
                "a leak",
                host(700, 0),
                rates(0, 0, 0, 0, 100),
                Level::Pressed,
                Sign::SoonUsedUp,
            ),
            (
                "a slow leak",
                host(700, 0),
                rates(0, 0, 0, 0, 1),
                Level::Calm,
                Sign::None,
            ),
            (
                "some stand still",
                host(700, 0),
                rates(250, 0, 0, 0, 0),
                Level::Pressed,
                Sign::SomeStandStill,
            ),
        ];
        for (what, host, rates, level, sign) in table {
            let marks = Marks::of(&policy, &host);
            assert_eq!(
                judge(&policy, &host, &rates, &marks),
                (level, sign),
                "{what}"
            );
        }
    }

    #[test]
    fn the_less_room_the_sooner_it_looks_again() {
        let policy = Policy::default();
        let ms = |level, available| look_again_in_ms(&policy, level, &host(available, 0));
        assert_eq!(ms(Level::Calm, 4000), 1000);
        assert_eq!(
            ms(Level::Calm, 409 + 512),
            499,
            "half a second of the fastest"
        );
        assert_eq!(ms(Level::Easing, 420), 100);
        assert_eq!(ms(Level::Calm, 0), 100);
        assert_eq!(ms(Level::Dire, 4000), 100);
    }

    #[test]
    fn calm_comes_only_after_a_while_and_with_a_margin() {
        let policy = Policy::default();
        let marks = Marks::of(&policy, &host(0, 0));
        let mut course = Course::default();
        let mut step = |at, available, judged| {
            course
                .go_on(at, judged, &host(available, 0), &marks, &policy.pace)
                .0
        };
        let calm = (Level::Calm, Sign::None);
        assert_eq!(step(0, 420, calm), Level::Calm, "nothing has happened yet");
        assert_eq!(
            step(1000, 400, (Level::Pressed, Sign::AvailableIsLow)),
            Level::Pressed
        );
        assert_eq!(step(2000, 420, calm), Level::Easing);
        assert_eq!(step(12_500, 430, calm), Level::Easing, "no margin yet");
        assert_eq!(step(20_000, 600, calm), Level::Easing);
        assert_eq!(step(23_000, 600, calm), Level::Calm);
    }

    #[test]
    fn a_kill_by_the_kernel_counts_where_the_host_is_short() {
        let policy = Policy::default();
        let mut course = Course::default();
        let mut step = |available, kills| {
            let mut host = host(available, 0);
            host.oom_kills = kills;
            let marks = Marks::of(&policy, &host);
            course
                .go_on(1, (Level::Calm, Sign::None), &host, &marks, &policy.pace)
                .0
        };
        assert_eq!(step(3000, 5), Level::Calm);
        assert_eq!(step(3000, 6), Level::Calm, "in a limit of its own");
        assert_eq!(step(420, 7), Level::Dire);
    }
}
