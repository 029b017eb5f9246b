//! A slice of pages into frames, and a frame back into pages. Pure: bytes in, bytes out.

use super::buffer::Aligned;
use super::format::{
    BLOCK, Codec, Content, FRAME_BYTES, FRAME_HEADER, FrameHeader, SLICE_BYTES, SharedSource, Slot,
    seal,
};
use super::index::Located;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

/// Shorter runs of zero pages stay inside a frame, where they pack to almost nothing; a frame header and
/// an index entry for each would cost more.
const ZERO_RUN_PAGES: usize = 4;

/// Zstandard's level: 1 is the one that keeps up with a disk.
const ZSTD_LEVEL: i32 = 1;

/// Turns slices into frames; owns the buffers, so that packing allocates nothing.
pub(crate) struct Packer {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Aligned,
    used: usize,
    /// What the frames hold, with offsets from the start of the buffer.
    located: Vec<Located>,
}

impl Packer {
    pub(crate) fn new(codec: Codec, page_size: usize) -> std::io::Result<Self> {
        let zstd = match codec {
            Codec::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            Codec::None | Codec::Lz4 => None,
        };
        let most_frames = SLICE_BYTES / page_size + 1;
        let worst = lz4_flex::block::get_maximum_output_size(FRAME_BYTES) - FRAME_BYTES;
        let most = SLICE_BYTES + most_frames * FRAME_HEADER + worst;
        let out = Aligned::new(most.next_multiple_of(BLOCK) + BLOCK);
        Ok(Self {
            codec,
            zstd,
            out,
            used: 0,
            located: Vec::with_capacity(most_frames),
        })
    }

    /// Sorts `pages` (whole pages, from `address` on) into runs of zeros and frames.
    pub(crate) fn pack(&mut self, slot: Slot, address: u64, pages: &[u8], page_size: usize) {
        self.used = 0;
        self.located.clear();
        let mut at = 0;
        for (zero, bytes) in runs(pages, page_size) {
            let frame_bytes = if zero { bytes } else { FRAME_BYTES };
            let run = pages.get(at..at + bytes).unwrap_or_default();
            for frame in run.chunks(frame_bytes.max(1)) {
                self.push(slot, address + at as u64, frame, zero, page_size);
                at += frame.len();
            }
        }
    }

    /// One frame that says where pages of another process, shared by fork, are stored.
    pub(crate) fn pack_shared(
        &mut self,
        slot: Slot,
        address: u64,
        pages: u32,
        source: (Slot, u64),
    ) {
        self.used = 0;
        self.located.clear();
        let source = SharedSource {
            slot: U32::new(source.0.0),
            reserved: U32::new(0),
            address: U64::new(source.1),
        };
        let stored = size_of::<SharedSource>();
        if let Some(room) = self
            .out
            .bytes_mut()
            .get_mut(FRAME_HEADER..FRAME_HEADER + stored)
        {
            room.copy_from_slice(source.as_bytes());
        }
        self.located.push(Located {
            slot,
            address,
            pages,
            content: Content::Shared,
            offset: 0,
            stored: narrow(stored),
        });
        self.used = FRAME_HEADER + stored;
    }

    fn push(&mut self, slot: Slot, address: u64, pages: &[u8], zero: bool, page_size: usize) {
        let room = self.out.bytes_mut().get_mut(self.used + FRAME_HEADER..);
        let room = room.unwrap_or_default();
        let (content, stored) = if zero {
            (Content::Zeros, 0)
        } else {
            squeeze(self.codec, self.zstd.as_mut(), pages, room)
        };
        let located = Located {
            slot,
            address,
            pages: narrow(pages.len() / page_size),
            content,
            offset: self.used as u64,
            stored: narrow(stored),
        };
        self.located.push(located);
        self.used += FRAME_HEADER + stored;
    }

    /// Seals the frames for their place in the file and pads them to a block: the bytes to write, and what
    /// they hold.
    pub(crate) fn seal(&mut self, store: u64, file_offset: u64) -> (&[u8], &[Located]) {
        let end = (self.used + FRAME_HEADER).next_multiple_of(BLOCK);
        let padding = Located {
            slot: Slot(0),
            address: 0,
            pages: 0,
            content: Content::Padding,
            offset: self.used as u64,
            stored: narrow(end - self.used - FRAME_HEADER),
        };
        let out = self.out.bytes_mut();
        if let Some(rest) = out.get_mut(self.used..end) {
            rest.fill(0);
        }
        for located in &mut self.located {
            seal_at(out, located, store, file_offset);
            located.offset += file_offset;
        }
        seal_at(out, &padding, store, file_offset);
        (
            self.out.bytes().get(..end).unwrap_or_default(),
            &self.located,
        )
    }

    /// How many bytes [`Packer::seal`] will give.
    pub(crate) fn sealed_len(&self) -> u64 {
        (self.used + FRAME_HEADER).next_multiple_of(BLOCK) as u64
    }
}

/// Writes the header of one frame whose payload is already in place.
fn seal_at(out: &mut [u8], located: &Located, store: u64, file_offset: u64) {
    let start = usize::try_from(located.offset).unwrap_or(usize::MAX);
    let Some(frame) = out.get_mut(start..) else {
        return;
    };
    let Some((header_bytes, rest)) = frame.split_at_mut_checked(FRAME_HEADER) else {
        return;
    };
    let payload = rest.get(..located.stored as usize).unwrap_or_default();
    let header = FrameHeader {
        store: U64::new(store),
        address: U64::new(located.address),
        offset: U64::new(located.offset + file_offset),
        slot: U32::new(located.slot.0),
        pages: U32::new(located.pages),
        content: U32::new(located.content.number()),
        stored: U32::new(located.stored),
        ..FrameHeader::blank()
    };
    header_bytes.copy_from_slice(seal(header, payload).as_bytes());
}

/// Packs into `room` where that gains anything, else copies.
fn squeeze(
    codec: Codec,
    zstd: Option<&mut zstd::bulk::Compressor<'static>>,
    pages: &[u8],
    room: &mut [u8],
) -> (Content, usize) {
    let worth = pages.len() - pages.len() / 16;
    // Packing asks for room for its worst case; a frame that needs it is stored plainly.
    let packed = match (codec, zstd) {
        (Codec::Lz4, _) => lz4_flex::block::compress_into(pages, room).ok(),
        (Codec::Zstd, Some(zstd)) => zstd.compress_to_buffer(pages, room).ok(),
        _ => None,
    };
    let Some(room) = room.get_mut(..pages.len()) else {
        return (Content::Padding, 0); // cannot be: the buffer holds a slice stored plainly
    };
    match packed {
        Some(stored) if stored <= worth => (Content::Pages(codec), stored),
        _ => {
            room.copy_from_slice(pages);
            (Content::Pages(Codec::None), pages.len())
        }
    }
}

/// Unpacks a frame's payload into exactly `into`; `Err` says what does not fit.
pub(crate) fn unpack(
    content: Content,
    payload: &[u8],
    into: &mut [u8],
) -> Result<(), &'static str> {
    let unpacked = match content {
        Content::Zeros => {
            into.fill(0);
            into.len()
        }
        Content::Pages(Codec::None) => {
            if payload.len() != into.len() {
                return Err("the frame holds more or less than it says");
            }
            into.copy_from_slice(payload);
            into.len()
        }
        Content::Pages(Codec::Lz4) => lz4_flex::block::decompress_into(payload, into)
            .map_err(|_| "the frame is no LZ4 block")?,
        Content::Pages(Codec::Zstd) => zstd::bulk::decompress_to_buffer(payload, into)
            .map_err(|_| "the frame is no Zstandard frame")?,
        Content::Padding | Content::Shared => return Err("the frame holds no pages"),
    };
    if unpacked == into.len() {
        Ok(())
    } else {
        Err("the frame holds more or less than it says")
    }
}

/// The slice as alternating runs: whether it is zero, and how many bytes.
fn runs(pages: &[u8], page_size: usize) -> impl Iterator<Item = (bool, usize)> {
    let mut rest = pages;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let zeros = leading_zero_pages(rest, page_size);
        let run = if zeros >= ZERO_RUN_PAGES || zeros * page_size == rest.len() {
            (true, zeros * page_size)
        } else {
            (false, until_zero_run(rest, page_size))
        };
        rest = rest.get(run.1..).unwrap_or_default();
        Some(run)
    })
}

fn leading_zero_pages(pages: &[u8], page_size: usize) -> usize {
    pages
        .chunks(page_size)
        .take_while(|page| is_zero(page))
        .count()
}

/// Bytes before the next run of zero pages that is worth its own frame.
fn until_zero_run(pages: &[u8], page_size: usize) -> usize {
    let mut zeros = 0;
    for (number, page) in pages.chunks(page_size).enumerate() {
        zeros = if is_zero(page) { zeros + 1 } else { 0 };
        if zeros == ZERO_RUN_PAGES && number + 1 > zeros {
            return (number + 1 - zeros) * page_size;
        }
    }
    pages.len()
}

/// Every byte equals the one before it, and the first is zero: one `memcmp(3)`.
fn is_zero(page: &[u8]) -> bool {
    match page.split_first() {
        None => true,
        Some((first, rest)) => *first == 0 && page.get(..rest.len()) == Some(rest),
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::open_frame;
    use proptest::prelude::*;

    /// Each page one of: zero, one byte repeated, noise.
    fn pages(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut noise = 12345u64;
        for kind in kinds {
            for at in 0..4096u64 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(at);
                bytes.push(match kind % 3 {
                    0 => 0,
                    1 => *kind,
                    _ => noise.to_le_bytes()[5],
                });
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_page_comes_back_once(kinds in prop::collection::vec(prop_oneof![3 => Just(0u8), 2 => any::<u8>()], 1..128), codec in 0..3) {
            let codec = [Codec::None, Codec::Lz4, Codec::Zstd][usize::try_from(codec).unwrap()];
            let slice = pages(&kinds);
            let mut packer = Packer::new(codec, 4096).unwrap();
            packer.pack(Slot(3), 0x7000, &slice, 4096);
            let expected_len = packer.sealed_len();
            let (bytes, located) = packer.seal(99, 8192);
            prop_assert_eq!(bytes.len() as u64, expected_len);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let mut next = 0x7000;
            let mut whole = Vec::new();
            for entry in located {
                prop_assert_eq!(entry.address, next);
                next += u64::from(entry.pages) * 4096;
                let (header, content, payload) = open_frame(&bytes[usize::try_from(entry.offset).unwrap() - 8192..]).unwrap();
                prop_assert_eq!(header.offset.get(), entry.offset);
                let mut unpacked = vec![1; entry.pages as usize * 4096];
                unpack(content, payload, &mut unpacked).unwrap();
                whole.extend_from_slice(&unpacked);
            }
            prop_assert!(whole == slice);
        }

        #[test]
        fn hostile_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300), kind in 0u32..7) {
            let mut into = vec![0; 8192];
            if let Some(content) = Content::from_number(kind) {
                let _ = unpack(content, &payload, &mut into);
            }
            let _ = open_frame(&payload);
        }
    }

    #[test]
    fn what_can_be_packed_is() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            let mut packer = Packer::new(codec, 4096).unwrap();
            packer.pack(Slot(0), 0, &pages(&[4; 128]), 4096); // a whole slice of one byte
            assert!(packer.sealed_len() < 16 * 1024, "{codec:?}");
            packer.pack(Slot(0), 0, &pages(&[2; 128]), 4096);
            assert!(packer.sealed_len() < SLICE_BYTES as u64 + 8192, "{codec:?}");
        }
    }

    #[test]
    fn long_zero_runs_take_no_frame_and_short_ones_stay_inside() {
        let mut packer = Packer::new(Codec::Lz4, 4096).unwrap();
        packer.pack(Slot(0), 0, &pages(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 2]), 4096);
        let (_, located) = packer.seal(1, 0);
        let shape: Vec<_> = located
            .iter()
            .map(|l| (l.content == Content::Zeros, l.pages))
            .collect();
        assert_eq!(shape, [(false, 4), (true, 5), (false, 1)]);
    }
}
