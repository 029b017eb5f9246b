//! Which pages a process touched first when it was resumed, and when: they lead the next time.
//!
//! Kept beside the records ([`crate::runtime`]) for as long as the process lives, and never believed: a wrong order
//! costs a moment, not a byte. What has led and was not missed can't be told from what was not wanted; so
//! it grows older each time, until it either falls out or is missed and noted anew.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Frames that are remembered of one process.
const MOST: usize = 1024;

/// A frame and when it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Where it was parked.
    pub address: u64,
    /// Microseconds after the process ran again.
    pub after_us: u64,
}

/// What is known from before, and what is noted this time.
#[derive(Debug, Default)]
pub struct FirstTouches {
    known: Vec<Touch>,
    noted: Mutex<Vec<Touch>>,
}

impl FirstTouches {
    /// With what is known from before.
    #[must_use]
    pub fn new(mut known: Vec<Touch>) -> Self {
        known.truncate(MOST);
        Self {
            known,
            noted: Mutex::default(),
        }
    }

    /// The addresses known from before, in order.
    pub(super) fn known(&self) -> Vec<u64> {
        self.known.iter().map(|touch| touch.address).collect()
    }

    pub(super) fn note(&self, address: u64, after_us: u64) {
        let mut noted = self.lock();
        if noted.len() < MOST {
            noted.push(Touch { address, after_us });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Touch>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be known the next time.
    #[must_use]
    pub fn for_next_time(&self) -> Vec<Touch> {
        let older = self.known.iter().map(|touch| Touch {
            after_us: touch.after_us.saturating_add(touch.after_us / 8),
            ..*touch
        });
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        for touch in older.chain(self.lock().iter().copied()) {
            let when = first.entry(touch.address).or_insert(touch.after_us);
            *when = touch.after_us.min(*when);
        }
        let mut touches: Vec<Touch> = first
            .into_iter()
            .map(|(address, after_us)| Touch { address, after_us })
            .collect();
        touches.sort_by_key(|touch| touch.after_us);
        touches.truncate(MOST);
        touches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(address: u64, after_us: u64) -> Touch {
        Touch { address, after_us }
    }

    #[test]
    fn what_was_missed_comes_by_its_time_and_the_rest_grows_older() {
        let touches = FirstTouches::new(vec![touch(1, 80), touch(2, 800)]);
        assert_eq!(touches.known(), [1, 2]);
        touches.note(3, 85);
        touches.note(2, 100);
        touches.note(3, 300);
        let next = touches.for_next_time();
        assert_eq!(next, [touch(3, 85), touch(1, 90), touch(2, 100)]);
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let touches = FirstTouches::new((0..5000).map(|n| touch(n, n)).collect());
        for number in 0..5000 {
            touches.note(number + 10_000, 0);
        }
        let next = touches.for_next_time();
        assert_eq!(next.len(), MOST);
        assert!(
            next.iter()
                .all(|touch| touch.address >= 10_000 || touch.after_us == 0)
        );
    }
}
