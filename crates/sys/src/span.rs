//! A range of addresses in some process: half-open, in bytes.

use std::fmt;

/// Addresses from `start` up to, not including, `end`, in a target's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// The first address after it.
    pub end: u64,
}

impl Span {
    /// The range of `length` bytes from `start`; ends at the top of memory at the latest.
    #[must_use]
    pub const fn new(start: u64, length: u64) -> Self {
        Self {
            start,
            end: start.saturating_add(length),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// What both hold; `None` where that is nothing.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        };
        (!both.is_empty()).then_some(both)
    }

    /// The parts of `spans` that none of `holes` covers. Both are in order, without overlap.
    #[must_use]
    pub fn without(spans: &[Self], holes: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        for span in spans {
            let mut at = span.start;
            let first = holes.partition_point(|hole| hole.end <= span.start);
            let inside = holes.iter().skip(first);
            for hole in inside.take_while(|hole| hole.start < span.end) {
                left.push(Self {
                    start: at,
                    end: hole.start.max(at),
                });
                at = hole.end;
            }
            left.push(Self {
                start: at.min(span.end),
                end: span.end,
            });
        }
        left.retain(|span| !span.is_empty());
        left
    }

    /// What both hold. Both are in order, without overlap.
    #[must_use]
    pub fn common(spans: &[Self], others: &[Self]) -> Vec<Self> {
        let mut common = Vec::new();
        for span in spans {
            let first = others.partition_point(|other| other.end <= span.start);
            let inside = others.iter().skip(first);
            let inside = inside.take_while(|other| other.start < span.end);
            common.extend(inside.filter_map(|other| other.intersection(*span)));
        }
        common
    }

    /// In order, those that touch or overlap made one.
    #[must_use]
    pub fn joined(mut spans: Vec<Self>) -> Vec<Self> {
        spans.sort_unstable();
        let mut joined: Vec<Self> = Vec::new();
        for span in spans {
            match joined.last_mut().filter(|last| last.end >= span.start) {
                Some(last) => last.end = last.end.max(span.end),
                None => joined.push(span),
            }
        }
        joined
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.start, self.end)
    }
}

impl fmt::Display for Span {
    /// As in `/proc/PID/maps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_cut_out_or_what_lies_in_them() {
        let spans = [Span::new(0x1000, 0x4000), Span::new(0x8000, 0x1000)];
        let holes = [
            Span::new(0, 0x2000),
            Span::new(0x3000, 0x1000),
            Span::new(0x8000, 0x9000),
        ];
        let left = [Span::new(0x2000, 0x1000), Span::new(0x4000, 0x1000)];
        assert_eq!(Span::without(&spans, &holes), left);
        assert_eq!(Span::without(&spans, &[]), spans);
        let inside = [
            Span::new(0x1000, 0x1000),
            Span::new(0x3000, 0x1000),
            Span::new(0x8000, 0x1000),
        ];
        assert_eq!(Span::common(&spans, &holes), inside);
        assert_eq!(Span::common(&spans, &[]), []);
    }
}
