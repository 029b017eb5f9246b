//! Rates of the host over the last second or two, from counters of single moments.

use crate::observation::Host;
use plimsoll_units::Bytes;
use serde::Serialize;

/// How far back rates look. `avg10` of the kernel is too slow: at 1 GiB/s a small host is full in its first second.
const WINDOW_MS: u64 = 2500;

/// Counters less than this apart say nothing of a rate: the kernel brings PSI totals forward in steps.
const LEAST_MS: u64 = 300;

/// What goes fast has gone before the window says so: it is seen over no longer than this, where there were looks so close.
const PLUNGE_MS: u64 = 600;

const SAMPLES: usize = 32;

/// The last moments of the host.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    samples: [(u64, Host); SAMPLES],
    /// How many were ever taken; the last is at `taken - 1`, counted round.
    taken: usize,
}

/// What was going on lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Of a thousand parts of the time, how many some task stood still for want of memory.
    pub some_permille: u64,
    /// And how many all did.
    pub full_permille: u64,
    /// Paged in from swap and out to it, the lesser of both, in one second: what goes round.
    pub swapped_round_bytes: Bytes,
    /// Wanted again after reclaim, in one second.
    pub refaulted_bytes: Bytes,
    /// What available memory has lost, in one second.
    pub declined_bytes: Bytes,
    /// The same at the rate of the last moment: of somebody who has just begun.
    pub plunging_bytes: Bytes,
}

impl Rates {
    /// What is wanted again after it went, by way of swap or of files, in one second.
    pub(super) fn go_round_bytes(&self) -> Bytes {
        self.swapped_round_bytes.max(self.refaulted_bytes)
    }
}

impl Gauge {
    /// Takes a moment in. One that is not later than the last begins anew: it is another boot.
    pub(super) fn add(&mut self, at_ms: u64, host: &Host) {
        if self.back(0).is_some_and(|(last, _)| at_ms <= *last) {
            self.taken = 0;
        }
        let place = self.taken % SAMPLES;
        if let Some(sample) = self.samples.get_mut(place) {
            *sample = (at_ms, *host);
            self.taken = self.taken.saturating_add(1);
        }
    }

    /// What was before this says nothing of what comes.
    pub(super) fn begin_anew(&mut self) {
        self.taken = 0;
    }

    fn back(&self, steps: usize) -> Option<&(u64, Host)> {
        let index = self.taken.checked_sub(steps)?.checked_sub(1)?;
        if steps >= SAMPLES {
            return None;
        }
        self.samples.get(index % SAMPLES)
    }

    /// Over the window, or from the last moment to this where they are further apart.
    pub(super) fn rates(&self) -> Rates {
        let Some((now, host)) = self.back(0) else {
            return Rates::default();
        };
        let earlier = || (1..SAMPLES).map_while(|steps| self.back(steps));
        let ago = |at: u64| now.saturating_sub(at);
        let within = |(at, _): &&(u64, Host)| ago(*at) <= WINDOW_MS;
        let oldest = earlier().take_while(within).last();
        let Some((then, past)) = oldest.or_else(|| self.back(1)) else {
            return Rates::default();
        };
        let ms = ago(*then);
        if ms < LEAST_MS {
            return Rates::default();
        }
        let lately = earlier().find(|(at, _)| ago(*at) >= LEAST_MS);
        let plunged = lately.filter(|(at, _)| ago(*at) <= PLUNGE_MS);
        let a_second = |now, then| rate(now, then, ms);
        let permille = |now: Option<u64>, then: Option<u64>| match (now, then) {
            (Some(now), Some(then)) => now
                .saturating_sub(then)
                .checked_div(ms)
                .unwrap_or(0)
                .min(1000),
            _ => 0,
        };
        Rates {
            some_permille: permille(host.some_us, past.some_us),
            full_permille: permille(host.full_us, past.full_us),
            swapped_round_bytes: a_second(host.swapped_in_bytes, past.swapped_in_bytes)
                .min(a_second(host.swapped_out_bytes, past.swapped_out_bytes)),
            refaulted_bytes: a_second(host.refaulted_bytes, past.refaulted_bytes),
            declined_bytes: a_second(past.available_bytes, host.available_bytes),
            plunging_bytes: plunged.map_or(Bytes::ZERO, |(at, past)| {
                rate(past.available_bytes, host.available_bytes, ago(*at))
            }),
        }
    }
}

/// How much more `now` is than `then`, by the second.
fn rate(now: Bytes, then: Bytes, ms: u64) -> Bytes {
    let more = (now - then).get().saturating_mul(1000);
    Bytes(more.checked_div(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(available: u64, full_us: u64) -> Host {
        Host {
            available_bytes: Bytes(available),
            full_us: Some(full_us),
            ..Host::default()
        }
    }

    #[test]
    fn over_the_window_and_not_longer() {
        let mut gauge = Gauge::default();
        gauge.add(0, &host(9000, 0));
        gauge.add(8000, &host(5000, 0));
        gauge.add(9000, &host(3000, 500_000));
        gauge.add(10_000, &host(2000, 1_000_000));
        let rates = gauge.rates();
        assert_eq!(
            (rates.full_permille, rates.declined_bytes),
            (500, Bytes(1500))
        );
    }

    #[test]
    fn who_has_just_begun_shows_before_the_window_is_over() {
        let mut gauge = Gauge::default();
        for look in 0..20 {
            gauge.add(look * 100, &host(9000, 0));
        }
        gauge.add(2000, &host(8000, 0));
        gauge.add(2100, &host(7000, 0));
        gauge.add(2200, &host(6000, 0));
        let rates = gauge.rates();
        assert_eq!(rates.plunging_bytes, Bytes(10_000));
        assert_eq!(rates.declined_bytes, Bytes(3000 * 1000 / 2200));
        gauge.add(4000, &host(3000, 0));
        assert_eq!(gauge.rates().plunging_bytes, Bytes::ZERO, "too far apart");
    }

    #[test]
    fn looks_far_apart_and_looks_too_close() {
        let mut gauge = Gauge::default();
        gauge.add(0, &host(9000, 0));
        gauge.add(5000, &host(4000, 0));
        assert_eq!(gauge.rates().declined_bytes, Bytes(1000));
        let mut gauge = Gauge::default();
        gauge.add(0, &host(9000, 0));
        gauge.add(100, &host(0, 100_000));
        assert_eq!(gauge.rates(), Rates::default());
    }

    #[test]
    fn time_that_goes_back_is_a_new_beginning() {
        let mut gauge = Gauge::default();
        gauge.add(5000, &host(9000, 0));
        gauge.add(1000, &host(10, 0));
        assert_eq!(gauge.rates(), Rates::default());
    }
}
