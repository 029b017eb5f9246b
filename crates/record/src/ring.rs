//! The last beats, in memory of a fixed size: slots of equal size, of which the oldest is forgotten as a whole.
//!
//! The first beat of a slot is kept as it is, the others as difference from it: a slot can be read without any other.
//! Nothing here allocates once the ring is made.

use crate::beat::{Beat, Source};
use crate::delta::{self, Sink};
use crate::format::{self, Encoding};

/// How many slots: what is forgotten at a time is one in so many.
pub const SLOTS: usize = 16;

/// The ring.
#[derive(Debug)]
pub struct Ring {
    slots: Vec<Slot>,
    /// Which is written to.
    current: usize,
    /// The first beat of that slot.
    key: Beat,
    /// How many slots were begun.
    begun: u64,
}

/// Beats behind one another, the first of them whole.
#[derive(Debug, Default)]
struct Slot {
    bytes: Vec<u8>,
    /// Which in the order of time, from 1; 0 where it holds nothing.
    number: u64,
}

/// Appends to a slot as far as its room goes.
struct Room<'s>(&'s mut Vec<u8>);

impl Sink for Room<'_> {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.0.capacity().saturating_sub(self.0.len());
        if fits {
            self.0.extend_from_slice(bytes);
        }
        fits
    }
}

impl Ring {
    /// A ring of `slot_bytes` a slot, for beats with the room of `pattern`.
    #[must_use]
    pub fn new(slot_bytes: usize, pattern: &Beat) -> Self {
        let slot = || Slot {
            bytes: Vec::with_capacity(slot_bytes),
            number: 0,
        };
        Self {
            slots: std::iter::repeat_with(slot).take(SLOTS).collect(),
            current: 0,
            key: pattern.clone_room(),
            begun: 0,
        }
    }

    /// The bytes of one slot.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.slots.first().map_or(0, |slot| slot.bytes.capacity())
    }

    /// Takes a beat in; says whether it fitted, which it does unless it is larger than a slot.
    pub fn push(&mut self, beat: &Beat) -> bool {
        let begun = self.begun;
        let key = &self.key;
        if let Some(slot) = self.slots.get_mut(self.current)
            && begun > 0
            && slot.append(beat, Some(key))
        {
            return true;
        }
        self.begin_slot(beat)
    }

    fn begin_slot(&mut self, beat: &Beat) -> bool {
        if self.begun > 0 {
            self.current = self
                .current
                .saturating_add(1)
                .checked_rem(SLOTS)
                .unwrap_or(0);
        }
        self.begun = self.begun.saturating_add(1);
        self.key.copy_from(beat);
        let begun = self.begun;
        let Some(slot) = self.slots.get_mut(self.current) else {
            return false;
        };
        slot.bytes.clear();
        slot.number = begun;
        slot.append(beat, None)
    }

    /// Copies the oldest slot that is younger than slot `after` into `copy`, and says which it is; `None` behind the last.
    pub fn copy_next(&self, after: u64, copy: &mut Vec<u8>) -> Option<u64> {
        let younger = self.slots.iter().filter(|slot| slot.number > after);
        let next = younger.min_by_key(|slot| slot.number)?;
        copy.clear();
        copy.extend_from_slice(&next.bytes);
        Some(next.number)
    }
}

impl Slot {
    /// Appends a beat, or leaves the slot as it was where it has no room.
    fn append(&mut self, beat: &Beat, key: Option<&Beat>) -> bool {
        let before = self.bytes.len();
        let fits = encode(beat, key, &mut self.bytes).is_some();
        if !fits {
            self.bytes.truncate(before);
        }
        fits
    }
}

fn encode(beat: &Beat, key: Option<&Beat>, bytes: &mut Vec<u8>) -> Option<()> {
    let begin = bytes.len();
    Room(bytes)
        .put(&format::beat_header(beat, 0))
        .then_some(())?;
    for (place, (source, text)) in beat.texts().enumerate() {
        let key = key.and_then(|key| key.find(source, place));
        encode_text(source, text, key, bytes)?;
    }
    let length = bytes.len().checked_sub(begin)?;
    let header = format::beat_header(beat, u32::try_from(length).ok()?);
    bytes
        .get_mut(begin..)?
        .get_mut(..header.len())?
        .copy_from_slice(&header);
    Some(())
}

fn encode_text(source: Source, text: &[u8], key: Option<&[u8]>, bytes: &mut Vec<u8>) -> Option<()> {
    let begin = bytes.len();
    let encoding = key.map_or(Encoding::Whole, |_| Encoding::Delta);
    Room(bytes)
        .put(&format::text_header(source, encoding, 0))
        .then_some(())?;
    match key {
        Some(key) => delta::encode(key, text, &mut Room(bytes))?,
        None => Room(bytes).put(text).then_some(())?,
    }
    let length = bytes
        .len()
        .checked_sub(begin)?
        .checked_sub(format::TEXT_HEADER)?;
    let header = format::text_header(source, encoding, u32::try_from(length).ok()?);
    bytes
        .get_mut(begin..)?
        .get_mut(..header.len())?
        .copy_from_slice(&header);
    Some(())
}
