//! A frame's pages packed and unpacked, between buffers.

/// Zstandard's level: the lowest keeps up with a disk.
const ZSTD_LEVEL: i32 = 1;

/// How pages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// LZ4 block format: fast.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

/// The numbers in the format; zero is none.
const NUMBERS: [(u16, Codec); 3] = [(1, Codec::None), (2, Codec::Lz4), (3, Codec::Zstd)];

impl Codec {
    pub(super) fn from_number(number: u16) -> Option<Self> {
        let known = NUMBERS.iter().find(|(known, _)| *known == number);
        known.map(|(_, codec)| *codec)
    }

    pub(super) fn number(self) -> u16 {
        let known = NUMBERS.iter().find(|(_, codec)| *codec == self);
        known.map_or(0, |(number, _)| *number)
    }

    /// Packs where that gains a sixteenth or more; says how it did.
    pub(super) fn pack(self, pages: &[u8]) -> (Self, Vec<u8>) {
        let packed = match self {
            Self::None => None,
            Self::Lz4 => Some(lz4_flex::block::compress(pages)),
            Self::Zstd => zstd::bulk::compress(pages, ZSTD_LEVEL).ok(),
        };
        match packed {
            Some(packed) if packed.len() <= pages.len() - pages.len() / 16 => (self, packed),
            _ => (Self::None, pages.to_vec()),
        }
    }

    /// Unpacks to exactly this many bytes; `None` if it is anything else.
    pub(super) fn unpack(self, packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut pages = vec![0; length];
        let unpacked = match self {
            Self::None => return (packed.len() == length).then(|| packed.to_vec()),
            Self::Lz4 => lz4_flex::block::decompress_into(packed, &mut pages).ok()?,
            Self::Zstd => zstd::bulk::decompress_to_buffer(packed, &mut pages).ok()?,
        };
        (unpacked == length).then_some(pages)
    }
}
