//! What one beat holds: the text of kernel files, as read, in memory that was there before.

use std::ops::Range;

/// Which file of the host a text is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One of [`crate::sampler::HOST_FILES`], by its place there.
    Host(u32),
    /// `/proc/PID/stat`.
    Stat(u32),
    /// `/proc/PID/status`.
    Status(u32),
}

/// When a beat was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Nanoseconds since 1970, UTC: for people. It may jump.
    pub realtime_ns: i64,
    /// Nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`): for intervals.
    pub boottime_ns: i64,
}

/// The texts of one moment. Its memory is of a fixed size: what does not fit is left out and counted.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    moment: Moment,
    text: Vec<u8>,
    parts: Vec<(Source, Range<usize>)>,
    left_out: u32,
}

impl Beat {
    /// Room for so many bytes of text, of so many files.
    #[must_use]
    pub fn with_room(text_bytes: usize, files: usize) -> Self {
        Self {
            moment: Moment::default(),
            text: Vec::with_capacity(text_bytes),
            parts: Vec::with_capacity(files),
            left_out: 0,
        }
    }

    /// Another with the same room, empty.
    #[must_use]
    pub fn clone_room(&self) -> Self {
        Self::with_room(self.text.capacity(), self.parts.capacity())
    }

    /// The most bytes that it takes with all that belongs to its texts.
    #[must_use]
    pub fn room(&self) -> usize {
        let headers = self
            .parts
            .capacity()
            .saturating_mul(crate::format::TEXT_HEADER);
        let texts = self.text.capacity().saturating_add(headers);
        texts.saturating_add(crate::format::BEAT_HEADER)
    }

    /// Begins anew, in the same memory.
    pub fn begin(&mut self, moment: Moment) {
        self.moment = moment;
        self.text.clear();
        self.parts.clear();
        self.left_out = 0;
    }

    /// Takes a text in; leaves it out where the room is used up.
    pub fn add(&mut self, source: Source, text: &[u8]) {
        let room = self.text.capacity().saturating_sub(self.text.len());
        if text.len() > room || self.parts.len() == self.parts.capacity() {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.parts.push((source, start..self.text.len()));
    }

    /// Becomes the same as another of the same room, without new memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.begin(other.moment);
        for (source, text) in other.texts() {
            self.add(source, text);
        }
        self.left_out = other.left_out;
    }

    /// When it was taken.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        self.moment
    }

    /// How many files had no room.
    #[must_use]
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// All that it holds, in the order it was taken in.
    pub fn texts(&self) -> impl Iterator<Item = (Source, &[u8])> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.parts
            .iter()
            .map(move |(source, range)| (*source, text(range)))
    }

    /// The text of one file. Beats list their files in much the same order, so the search begins at `near`.
    #[must_use]
    pub fn find(&self, source: Source, near: usize) -> Option<&[u8]> {
        let (before, from) = self
            .parts
            .split_at_checked(near)
            .unwrap_or((&self.parts, &[]));
        let mut parts = from.iter().chain(before);
        let (_, range) = parts.find(|(candidate, _)| *candidate == source)?;
        self.text.get(range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_left_out_and_counted() {
        let mut beat = Beat::with_room(10, 2);
        beat.begin(Moment::default());
        beat.add(Source::Host(0), b"12345678");
        beat.add(Source::Host(1), b"123");
        beat.add(Source::Stat(7), b"12");
        beat.add(Source::Stat(8), b"");
        let held: Vec<_> = beat.texts().collect();
        assert_eq!(
            held,
            [
                (Source::Host(0), &b"12345678"[..]),
                (Source::Stat(7), b"12")
            ]
        );
        assert_eq!(beat.left_out(), 2);
        assert_eq!(beat.find(Source::Host(0), 1), Some(&b"12345678"[..]));
        assert_eq!(beat.find(Source::Host(1), 9), None);
    }
}
