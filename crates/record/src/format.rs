//! The bytes of a recording, as `docs/record-format.md` describes them. Numbers are little endian.

use crate::beat::{Beat, Moment, Source};

/// Begins every recording; the last byte is the version.
pub(crate) const MAGIC: [u8; 8] = *b"PLIMREC\x01";

/// Begins every slot.
pub(crate) const SLOT_MAGIC: [u8; 4] = *b"SLOT";

/// Bytes in front of a beat's texts.
pub(crate) const BEAT_HEADER: usize = 24;

/// Bytes in front of a text.
pub(crate) const TEXT_HEADER: usize = 10;

/// How a text is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Whole,
    /// As difference from the text of the same file in the slot's first beat.
    Delta,
}

/// What stands in front of everything: the page size and the paths of the host's files, in the order of their numbers.
pub(crate) fn file_header(page_size: u32, paths: &[&str]) -> Vec<u8> {
    let mut body = page_size.to_le_bytes().to_vec();
    body.extend(u16_of(paths.len()).to_le_bytes());
    for path in paths {
        body.extend(u16_of(path.len()).to_le_bytes());
        body.extend(path.as_bytes());
    }
    let mut header = MAGIC.to_vec();
    header.extend(u32::from(u16_of(body.len())).to_le_bytes());
    header.extend(crc32fast::hash(&body).to_le_bytes());
    header.extend(body);
    header
}

/// Our own list of paths is short.
fn u16_of(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// What stands in front of a slot's beats.
pub(crate) fn slot_header(number: u64, beats: &[u8]) -> [u8; 20] {
    let length = u32::try_from(beats.len()).unwrap_or(u32::MAX);
    let mut header = [0; 20];
    let parts: [&[u8]; 4] = [
        &SLOT_MAGIC,
        &number.to_le_bytes(),
        &length.to_le_bytes(),
        &crc32fast::hash(beats).to_le_bytes(),
    ];
    fill(&mut header, &parts);
    header
}

/// What stands in front of a beat's texts; `length` is that of all, this header included.
pub(crate) fn beat_header(beat: &Beat, length: u32) -> [u8; BEAT_HEADER] {
    let mut header = [0; BEAT_HEADER];
    let parts: [&[u8]; 4] = [
        &length.to_le_bytes(),
        &beat.moment().realtime_ns.to_le_bytes(),
        &beat.moment().boottime_ns.to_le_bytes(),
        &beat.left_out().to_le_bytes(),
    ];
    fill(&mut header, &parts);
    header
}

/// What stands in front of a text; `length` is that of what follows.
pub(crate) fn text_header(source: Source, encoding: Encoding, length: u32) -> [u8; TEXT_HEADER] {
    let (kind, number) = match source {
        Source::Host(place) => (0, place),
        Source::Stat(pid) => (1, pid),
        Source::Status(pid) => (2, pid),
    };
    let mut header = [0; TEXT_HEADER];
    let parts: [&[u8]; 4] = [
        &[kind],
        &number.to_le_bytes(),
        &[encoding as u8],
        &length.to_le_bytes(),
    ];
    fill(&mut header, &parts);
    header
}

fn fill(header: &mut [u8], parts: &[&[u8]]) {
    let bytes = parts.iter().flat_map(|part| part.iter());
    for (place, byte) in header.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// Bytes that are taken apart from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'b>(pub(crate) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn is(&mut self, expected: &[u8]) -> Option<()> {
        (self.take(expected.len())? == expected).then_some(())
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A beat's header and its texts.
    pub(crate) fn beat(&mut self) -> Option<(Moment, u32, Self)> {
        let length = usize::try_from(self.u32()?).ok()?;
        let moment = Moment {
            realtime_ns: self.i64()?,
            boottime_ns: self.i64()?,
        };
        let left_out = self.u32()?;
        let texts = self.take(length.checked_sub(BEAT_HEADER)?)?;
        Some((moment, left_out, Self(texts)))
    }

    /// A text's header and its bytes.
    pub(crate) fn text(&mut self) -> Option<(Source, Encoding, &'b [u8])> {
        let [kind] = self.array()?;
        let number = self.u32()?;
        let source = match kind {
            0 => Source::Host(number),
            1 => Source::Stat(number),
            2 => Source::Status(number),
            _ => return None,
        };
        let encoding = match self.array()? {
            [0] => Encoding::Whole,
            [1] => Encoding::Delta,
            _ => return None,
        };
        let length = usize::try_from(self.u32()?).ok()?;
        Some((source, encoding, self.take(length)?))
    }
}
