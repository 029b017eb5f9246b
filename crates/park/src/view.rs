//! What the absent pages of a resuming process are: a decider, fed with the kernel's events.
//!
//! The tree runs while its memory comes back, and changes it: it moves mappings, drops pages, unmaps, forks. The
//! view follows. For every address it answers one question: if the page there is absent, which stored page is
//! it? None means zeros: memory that was never touched, dropped since, or mapped after parking. A page that is
//! present is always newer than the store; nobody asks the view about it.
//!
//! The answer depends only on the spans that were parked and on the events in their order, so a pager that takes
//! over from one that was killed replays the log and knows the same.

use plimsoll_sys::Span;
use std::collections::BTreeMap;

/// Where pages of one address space come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By first address: where the range ends, and the address that its first page was parked under.
    ranges: BTreeMap<u64, Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    end: u64,
    parked_at: u64,
}

impl View {
    /// That of a process whose memory is as it was when these spans were parked.
    #[must_use]
    pub fn parked(spans: impl IntoIterator<Item = Span>) -> Self {
        let ranges = spans.into_iter().filter(|span| !span.is_empty());
        Self {
            ranges: ranges
                .map(|span| {
                    let range = Range {
                        end: span.end,
                        parked_at: span.start,
                    };
                    (span.start, range)
                })
                .collect(),
        }
    }

    /// The address under which the page at `address` was parked; `None` where it is zeros now.
    #[must_use]
    pub fn parked_at(&self, address: u64) -> Option<u64> {
        let (start, range) = self.ranges.range(..=address).next_back()?;
        (address < range.end).then(|| range.parked_at.saturating_add(address - start))
    }

    /// The first range that ends after `address`: where it lies now, cut at `address`, and where its first page
    /// was parked.
    #[must_use]
    pub fn at_or_after(&self, address: u64) -> Option<(Span, u64)> {
        let holding = self.ranges.range(..=address).next_back();
        let (start, range) = holding
            .filter(|(_, range)| address < range.end)
            .or_else(|| self.ranges.range(address..).next())?;
        let from = address.max(*start);
        let span = Span {
            start: from,
            end: range.end,
        };
        Some((span, range.parked_at.saturating_add(from - start)))
    }

    /// Whether nothing of what was parked is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The pages were dropped or unmapped: what is absent there from now on is not ours to bring back.
    pub fn remove(&mut self, span: Span) {
        self.take(span);
    }

    /// `mremap(2)` moved a range of `length` bytes.
    pub fn remap(&mut self, from: u64, to: u64, length: u64) {
        let moved = self.take(Span::new(from, length));
        // What lay at the new place was unmapped, whether or not an event said so.
        self.take(Span::new(to, length));
        for (start, range) in moved {
            let shift = |address: u64| address.wrapping_sub(from).wrapping_add(to);
            let range = Range {
                end: shift(range.end),
                ..range
            };
            self.ranges.insert(shift(start), range);
        }
    }

    /// Cuts a span out and gives its pieces.
    fn take(&mut self, span: Span) -> Vec<(u64, Range)> {
        if span.is_empty() {
            return Vec::new();
        }
        self.split(span.start);
        self.split(span.end);
        let pieces: Vec<(u64, Range)> = self
            .ranges
            .range(span.start..span.end)
            .map(|(start, range)| (*start, *range))
            .collect();
        for (start, _) in &pieces {
            self.ranges.remove(start);
        }
        pieces
    }

    /// Makes a range begin at `address` where one holds it.
    fn split(&mut self, address: u64) {
        let Some((start, range)) = self.ranges.range(..address).next_back() else {
            return;
        };
        let (start, range) = (*start, *range);
        if address >= range.end {
            return;
        }
        let lower = Range {
            end: address,
            ..range
        };
        let upper = Range {
            end: range.end,
            parked_at: range.parked_at.saturating_add(address - start),
        };
        self.ranges.insert(start, lower);
        self.ranges.insert(address, upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn events_are_followed() {
        let mut view = View::parked([Span::new(100, 50), Span::new(200, 10)]);
        assert_eq!(view.parked_at(120), Some(120));
        view.remove(Span::new(110, 5));
        assert_eq!(
            (
                view.parked_at(109),
                view.parked_at(112),
                view.parked_at(115)
            ),
            (Some(109), None, Some(115))
        );
        view.remap(100, 1000, 50);
        assert_eq!(
            (
                view.parked_at(120),
                view.parked_at(1020),
                view.parked_at(1012)
            ),
            (None, Some(120), None)
        );
        assert_eq!(view.at_or_after(0), Some((Span::new(200, 10), 200)));
        assert_eq!(view.at_or_after(1004), Some((Span::new(1004, 6), 104)));
        assert_eq!(view.at_or_after(1050), None);
        view.remove(Span::new(0, 2000));
        assert!(view.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Change {
        Remove(u64, u64),
        Remap(u64, u64, u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0u64..64, 0u64..20).prop_map(|(start, len)| Change::Remove(start, len)),
            (0u64..64, 0u64..64, 0u64..16).prop_map(|(from, to, len)| Change::Remap(from, to, len)),
        ]
    }

    proptest! {
        /// Against the plainest model there is: a map of every address.
        #[test]
        fn it_agrees_with_a_map_of_every_address(changes in prop::collection::vec(change(), 0..12)) {
            let mut view = View::parked([Span::new(0, 20), Span::new(30, 20)]);
            let mut model: HashMap<u64, u64> = (0..20).chain(30..50).map(|at| (at, at)).collect();
            for change in changes {
                match change {
                    Change::Remove(start, len) => {
                        view.remove(Span::new(start, len));
                        model.retain(|at, _| !(start..start + len).contains(at));
                    }
                    // The kernel refuses to move a range onto itself.
                    Change::Remap(from, to, len) if from.abs_diff(to) < len => {}
                    Change::Remap(from, to, len) => {
                        view.remap(from, to, len);
                        let moved: Vec<_> = (0..len).filter_map(|n| Some((to + n, model.remove(&(from + n))?))).collect();
                        model.retain(|at, _| !(to..to + len).contains(at));
                        model.extend(moved);
                    }
                }
                for at in 0..100 {
                    prop_assert_eq!(view.parked_at(at), model.get(&at).copied(), "address {}", at);
                }
            }
        }
    }
}
