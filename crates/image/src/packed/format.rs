//! The bytes of a file of packed pages, as `docs/image-format.md` gives them. No I/O.

use super::PackedError;
use crc32fast::Hasher;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const VERSION: u32 = 1;
/// The most pages in a frame, and so what one fault unpacks.
pub const FRAME_PAGES: usize = 32;

pub(super) const HEADER_MAGIC: [u8; 8] = *b"PLIMPACK";
pub(super) const FRAME_MAGIC: [u8; 4] = *b"PLpf";
pub(super) const INDEX_MAGIC: [u8; 4] = *b"PLpi";
pub(super) const FOOTER_MAGIC: [u8; 4] = *b"PLpe";

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `pages.packed`: needed at once.
    Now,
    /// `pages.later`: may be brought when the process runs again.
    Later,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Now, Self::Later];

    /// The name of its file.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Now => "pages.packed",
            Self::Later => "pages.later",
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            Self::Now => 1,
            Self::Later => 2,
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.number() == number)
    }
}

/// Where pages are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: they are zero.
    Zeros,
    /// In this file, from this of its pages on.
    Here(u64),
    /// In a file of the set so many parents up (1 is the parent), from this of its pages on.
    Parent {
        /// How many parents up.
        level: u32,
        /// Which of its files.
        part: Part,
        /// Which of its pages.
        page: u64,
    },
}

/// A run of pages of one `pages` file of CRIU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// `pages_id` of the pagemap.
    pub pages_id: u32,
    /// The first page's place in that file, in pages.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Where they are found.
    pub source: Source,
}

impl Run {
    /// Whether it goes on where this one ends; then it becomes part of it.
    pub(super) fn try_extend(&mut self, next: &Run) -> bool {
        let follows = self.pages_id == next.pages_id && self.first + self.count == next.first;
        let fits = match (self.source, next.source) {
            (Source::Zeros, Source::Zeros) => true,
            (Source::Here(page), Source::Here(next)) => page + self.count == next,
            (
                Source::Parent { level, part, page },
                Source::Parent {
                    level: next_level,
                    part: next_part,
                    page: next,
                },
            ) => level == next_level && part == next_part && page + self.count == next,
            _ => false,
        };
        if follows && fits {
            self.count += next.count;
        }
        follows && fits
    }

    pub(super) fn encode(&self) -> RawRun {
        let (source, level, part, page) = match self.source {
            Source::Zeros => (1, 0, 0, 0),
            Source::Here(page) => (2, 0, 0, page),
            Source::Parent { level, part, page } => (3, level, part.number(), page),
        };
        RawRun {
            pages_id: U32::new(self.pages_id),
            source: U32::new(source),
            first: U64::new(self.first),
            count: U64::new(self.count),
            page: U64::new(page),
            level: U32::new(level),
            part: U32::new(part),
        }
    }

    /// `None` for what no writer writes: unknown sources, ends behind the last number, fields that must be zero.
    pub(super) fn decode(raw: &RawRun) -> Option<Self> {
        let (page, level, part) = (raw.page.get(), raw.level.get(), raw.part.get());
        let source = match (raw.source.get(), level, part) {
            (1, 0, 0) if page == 0 => Source::Zeros,
            (2, 0, 0) => Source::Here(page),
            (3, 1.., part) => Source::Parent {
                level,
                part: Part::from_number(part)?,
                page,
            },
            _ => return None,
        };
        let count = raw.count.get();
        raw.first.get().checked_add(count)?;
        page.checked_add(count)?;
        (count > 0).then_some(Self {
            pages_id: raw.pages_id.get(),
            first: raw.first.get(),
            count,
            source,
        })
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    pub(super) page_bytes: U32,
    pub(super) part: U32,
    pub(super) crc: U32,
    pub(super) set: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FrameHeader {
    pub(super) magic: [u8; 4],
    pub(super) crc: U32,
    pub(super) set: U64,
    /// The number of its first page in this file.
    pub(super) first: U64,
    pub(super) pages: U16,
    pub(super) codec: U16,
    pub(super) stored: U32,
}

/// In front of the index: so many [`RawFrame`]s, then so many [`RawRun`]s.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct IndexHeader {
    pub(super) magic: [u8; 4],
    pub(super) crc: U32,
    pub(super) set: U64,
    pub(super) frames: U64,
    pub(super) runs: U64,
    /// Pages in all frames.
    pub(super) pages: U64,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(super) struct RawFrame {
    pub(super) offset: U64,
    pub(super) first: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawRun {
    pages_id: U32,
    source: U32,
    first: U64,
    count: U64,
    page: U64,
    level: U32,
    part: U32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Footer {
    pub(super) magic: [u8; 4],
    pub(super) crc: U32,
    pub(super) set: U64,
    pub(super) index_offset: U64,
    pub(super) index_length: U64,
}

/// The CRC-32 of a structure whose checksum lies at bytes `at..at + 4`, and of what follows it.
pub(super) fn checksum(structure: &[u8], at: usize, payload: &[u8]) -> U32 {
    let mut hasher = Hasher::new();
    hasher.update(structure.get(..at).unwrap_or_default());
    hasher.update(structure.get(at + 4..).unwrap_or_default());
    hasher.update(payload);
    U32::new(hasher.finalize())
}

/// Where the checksum lies in a header, and in all others.
pub(super) const HEADER_CRC_AT: usize = 20;
pub(super) const CRC_AT: usize = 4;

/// Takes a structure from the front.
pub(super) fn take<'a, T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(&'a T, &'a [u8]), PackedError> {
    T::ref_from_prefix(bytes).map_err(|_| PackedError::Broken { what })
}
