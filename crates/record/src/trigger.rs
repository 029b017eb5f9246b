//! When a recording is written out. Pure: events and times in, a reason out.
//!
//! What happens after an event is as telling as what led to it, so the writing waits a little, and one event in a row of
//! them is enough.

use std::time::Duration;

/// Why a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Tasks stand still for want of memory.
    Pressure,
    /// Another program did something about memory, and asked for it ([`crate::bell`]).
    Act,
    /// The kernel killed a process to get memory.
    OomKill,
    /// Somebody asked for it.
    Told,
    /// The recorder ends.
    End,
}

impl Reason {
    /// In the file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pressure => "pressure",
            Self::Act => "act",
            Self::OomKill => "oom-kill",
            Self::Told => "told",
            Self::End => "end",
        }
    }

    /// How long after the event.
    const fn delay(self) -> Duration {
        match self {
            Self::Pressure => Duration::from_secs(10),
            Self::Act | Self::OomKill => Duration::from_secs(3),
            Self::Told | Self::End => Duration::ZERO,
        }
    }

    /// How long afterwards the same is no news.
    const fn pause(self) -> Duration {
        match self {
            Self::Pressure | Self::Act => Duration::from_secs(120),
            Self::OomKill => Duration::from_secs(10),
            Self::Told | Self::End => Duration::ZERO,
        }
    }
}

/// What is due. Times are durations since boot.
#[derive(Debug, Default)]
pub struct Triggers {
    due: Option<(Duration, Reason)>,
    written: Option<(Duration, Reason)>,
    oom_kills: Option<u64>,
}

impl Triggers {
    /// Something happened. A graver reason takes the place of one that is waiting.
    pub fn event(&mut self, now: Duration, reason: Reason) {
        let is_no_news = |(when, written): (Duration, Reason)| {
            written >= reason && now < when.saturating_add(reason.pause())
        };
        let waits = |(_, due): (Duration, Reason)| due >= reason;
        if !self.written.is_some_and(is_no_news) && !self.due.is_some_and(waits) {
            self.due = Some((now.saturating_add(reason.delay()), reason));
        }
    }

    /// The kernel's count of its kills since boot, as the beat of `now` has it.
    pub fn oom_kills(&mut self, now: Duration, count: u64) {
        if self
            .oom_kills
            .replace(count)
            .is_some_and(|before| before < count)
        {
            self.event(now, Reason::OomKill);
        }
    }

    /// Why a recording has to be written now, if it has to be; it counts as written then.
    pub fn take_due(&mut self, now: Duration) -> Option<Reason> {
        let (_, reason) = self.due.take_if(|(when, _)| *when <= now)?;
        self.written = Some((now, reason));
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pressure_is_written_once_and_with_what_follows() {
        let mut triggers = Triggers::default();
        for second in 0..100 {
            triggers.event(s(second), Reason::Pressure);
            let due = triggers.take_due(s(second));
            assert_eq!(due, (second == 10).then_some(Reason::Pressure), "{second}");
        }
        triggers.event(s(131), Reason::Pressure);
        assert_eq!(triggers.take_due(s(141)), Some(Reason::Pressure));
    }

    #[test]
    fn a_kill_does_not_wait_for_pressure_and_each_new_one_counts() {
        let mut triggers = Triggers::default();
        triggers.oom_kills(s(0), 7);
        triggers.event(s(1), Reason::Pressure);
        triggers.oom_kills(s(2), 8);
        assert_eq!(triggers.take_due(s(4)), None);
        assert_eq!(triggers.take_due(s(5)), Some(Reason::OomKill));
        triggers.event(s(6), Reason::Pressure); // that is in it
        triggers.oom_kills(s(30), 8);
        assert_eq!(triggers.take_due(s(60)), None);
        triggers.oom_kills(s(61), 9);
        assert_eq!(triggers.take_due(s(64)), Some(Reason::OomKill));
    }

    #[test]
    fn acts_that_follow_each_other_are_one_event_and_do_not_wait_for_pressure() {
        let mut triggers = Triggers::default();
        triggers.event(s(0), Reason::Pressure);
        for second in 1..100 {
            triggers.event(s(second), Reason::Act);
            let due = triggers.take_due(s(second));
            assert_eq!(due, (second == 4).then_some(Reason::Act), "{second}");
        }
        triggers.event(s(101), Reason::OomKill);
        assert_eq!(triggers.take_due(s(104)), Some(Reason::OomKill));
    }

    #[test]
    fn who_asks_gets_it_at_once() {
        let mut triggers = Triggers::default();
        for now in [s(1), s(1), s(2)] {
            triggers.event(now, Reason::Told);
            assert_eq!(triggers.take_due(now), Some(Reason::Told));
        }
    }
}
