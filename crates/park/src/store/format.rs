//! The bytes of a store, as `docs/store-format.md` gives them: fixed little-endian structures, and what
//! each must satisfy to be believed. No I/O here.

use super::StoreError;
use crc32fast::Hasher;
use std::path::Path;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version this program writes, and the oldest it reads: there is only one so far.
pub(crate) const VERSION: u32 = 1;
/// What the files are aligned to: a multiple of every device's block, whatever the page size.
pub(crate) const BLOCK: usize = 4096;
/// The most that one frame holds unpacked, and so what one fault reads and unpacks: a tenth of a millisecond's work.
pub const FRAME_BYTES: usize = 32 << 10;
/// The most that is read, packed and written at once.
pub const SLICE_BYTES: usize = 512 << 10;
/// A tree that is larger than this is refused.
pub(crate) const MAX_PROCESSES: usize = 1 << 16;
/// Page sizes that fit in a frame.
pub(crate) const MAX_PAGE_SIZE: u64 = 64 << 10;

const HEADER_MAGIC: [u8; 8] = *b"PLIMPARK";
pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"PLfr");

/// A process of the parked tree, by its place in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// How a frame is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As it was in memory.
    None,
    /// LZ4 block format: the fast one.
    Lz4,
    /// Zstandard: the small one.
    Zstd,
}

/// What follows a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Pages, packed.
    Pages(Codec),
    /// Nothing: the pages are all zero.
    Zeros,
    /// Nothing that counts: fills up to the next block.
    Padding,
    /// A [`SharedSource`]: the pages are those of another process of the tree, which precedes this one.
    Shared,
}

/// The numbers of [`Content`]; zero is no valid number.
const CONTENTS: [(u32, Content); 6] = [
    (1, Content::Pages(Codec::None)),
    (2, Content::Pages(Codec::Lz4)),
    (3, Content::Pages(Codec::Zstd)),
    (4, Content::Zeros),
    (5, Content::Padding),
    (6, Content::Shared),
];

impl Content {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        CONTENTS
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, content)| *content)
    }

    pub(crate) fn number(self) -> u32 {
        CONTENTS
            .iter()
            .find(|(_, content)| *content == self)
            .map_or(0, |(number, _)| *number)
    }
}

/// A process that was parked: enough to know it again, and not to mistake another for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its pid in the namespace of the host that parked it.
    pub pid: u32,
    /// When it started, in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub starttime: u64,
    /// Its name, cut to 15 bytes by the kernel.
    pub comm: [u8; 16],
}

/// Whose memory a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`: processes of another boot are gone.
    pub boot_id: [u8; 16],
    /// Bytes of a base page.
    pub page_size: u64,
    /// When it was parked, in seconds since 1970.
    pub created_s: u64,
    /// The tree; a [`Slot`] is an index into this.
    pub processes: Vec<Parked>,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    length: U32,
    page_size: U32,
    processes: U32,
    store: U64,
    boot_id: [u8; 16],
    created_s: U64,
    crc: U32,
    reserved: U32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawProcess {
    pid: U32,
    reserved: U32,
    starttime: U64,
    comm: [u8; 16],
}

/// In front of every frame. The checksum covers all of it but itself, and the payload.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FrameHeader {
    pub(crate) magic: U32,
    pub(crate) crc: U32,
    pub(crate) store: U64,
    pub(crate) address: U64,
    pub(crate) offset: U64,
    pub(crate) slot: U32,
    pub(crate) pages: U32,
    pub(crate) content: U32,
    pub(crate) stored: U32,
}

/// The payload of [`Content::Shared`]: where the pages are stored.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct SharedSource {
    pub(crate) slot: U32,
    pub(crate) reserved: U32,
    pub(crate) address: U64,
}

/// Bytes of a [`FrameHeader`].
pub(crate) const FRAME_HEADER: usize = size_of::<FrameHeader>();

/// The CRC-32 of a structure whose checksum field lies at bytes 4..8, and of what follows it.
pub(crate) fn checksum(structure: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(structure.get(..4).unwrap_or_default());
    hasher.update(structure.get(8..).unwrap_or_default());
    hasher.update(payload);
    hasher.finalize()
}

/// The header of `pages`, a whole number of blocks.
pub(crate) fn encode_header(identity: &Identity, store: u64) -> Result<Vec<u8>, StoreError> {
    let unsupported = |what| StoreError::Unsupported { what };
    if identity.processes.len() > MAX_PROCESSES {
        return Err(unsupported("so many processes"));
    }
    if identity.page_size > MAX_PAGE_SIZE || !identity.page_size.is_power_of_two() {
        return Err(unsupported("pages of this size"));
    }
    let used = size_of::<RawHeader>() + identity.processes.len() * size_of::<RawProcess>();
    let length = used.next_multiple_of(BLOCK);
    let number = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
    let mut header = RawHeader {
        magic: HEADER_MAGIC,
        version: U32::new(VERSION),
        length: number(length),
        page_size: U32::new(u32::try_from(identity.page_size).unwrap_or(u32::MAX)),
        processes: number(identity.processes.len()),
        store: U64::new(store),
        boot_id: identity.boot_id,
        created_s: U64::new(identity.created_s),
        crc: U32::new(0),
        reserved: U32::new(0),
    };
    let mut rest = Vec::with_capacity(length);
    for process in &identity.processes {
        let raw = RawProcess {
            pid: U32::new(process.pid),
            reserved: U32::new(0),
            starttime: U64::new(process.starttime),
            comm: process.comm,
        };
        rest.extend_from_slice(raw.as_bytes());
    }
    rest.resize(length - size_of::<RawHeader>(), 0);
    header.crc = U32::new(header_checksum(&header, &rest));
    let mut bytes = header.as_bytes().to_vec();
    bytes.append(&mut rest);
    Ok(bytes)
}

fn header_checksum(header: &RawHeader, rest: &[u8]) -> u32 {
    let unsigned = RawHeader {
        crc: U32::new(0),
        ..*header
    };
    let mut hasher = Hasher::new();
    hasher.update(unsigned.as_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// A header that was read back.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    pub(crate) store: u64,
    /// Bytes it takes in the file: where the first frame starts.
    pub(crate) length: u64,
}

/// The length of a header from its first block, so that the rest can be read.
pub(crate) fn header_length(path: &Path, block: &[u8]) -> Result<usize, StoreError> {
    let damaged = |what| StoreError::damaged(path, 0, what);
    let (header, _) = RawHeader::ref_from_prefix(block).map_err(|_| damaged("no whole header"))?;
    if header.magic != HEADER_MAGIC {
        return Err(damaged("this is no page store"));
    }
    if header.version.get() != VERSION {
        return Err(StoreError::Version {
            path: path.to_owned(),
            found: header.version.get(),
            supported: VERSION,
        });
    }
    let processes = header.processes.get() as usize;
    let length = header.length.get() as usize;
    let used = size_of::<RawHeader>() + processes.min(MAX_PROCESSES) * size_of::<RawProcess>();
    if processes > MAX_PROCESSES || length != used.next_multiple_of(BLOCK) {
        return Err(damaged("the header's length is not that of its processes"));
    }
    Ok(length)
}

/// A whole header, checked.
pub(crate) fn decode_header(path: &Path, bytes: &[u8]) -> Result<Header, StoreError> {
    let damaged = |what| StoreError::damaged(path, 0, what);
    let length = header_length(path, bytes)?;
    let bytes = bytes
        .get(..length)
        .ok_or_else(|| damaged("the header is cut"))?;
    let (header, rest) =
        RawHeader::ref_from_prefix(bytes).map_err(|_| damaged("no whole header"))?;
    if header.crc.get() != header_checksum(header, rest) {
        return Err(damaged("the header's checksum is wrong"));
    }
    let page_size = u64::from(header.page_size.get());
    if page_size > MAX_PAGE_SIZE || !page_size.is_power_of_two() || header.reserved.get() != 0 {
        return Err(damaged("the header has impossible values"));
    }
    let count = header.processes.get() as usize;
    let (processes, _) = <[RawProcess]>::ref_from_prefix_with_elems(rest, count)
        .map_err(|_| damaged("the header is cut"))?;
    let processes = processes
        .iter()
        .map(|raw| Parked {
            pid: raw.pid.get(),
            starttime: raw.starttime.get(),
            comm: raw.comm,
        })
        .collect();
    Ok(Header {
        identity: Identity {
            boot_id: header.boot_id,
            page_size,
            created_s: header.created_s.get(),
            processes,
        },
        store: header.store.get(),
        length: length as u64,
    })
}

/// A frame's header as bytes, with its checksum over `payload`.
pub(crate) fn seal(mut header: FrameHeader, payload: &[u8]) -> FrameHeader {
    header.magic = U32::new(FRAME_MAGIC);
    header.crc = U32::new(0);
    header.crc = U32::new(checksum(header.as_bytes(), payload));
    header
}

/// The frame at the start of `bytes` and its payload, its checksum checked; `Err` says what is wrong.
pub(crate) fn open_frame(bytes: &[u8]) -> Result<(&FrameHeader, Content, &[u8]), &'static str> {
    let (header, rest) = FrameHeader::ref_from_prefix(bytes).map_err(|_| "the frame is cut")?;
    if header.magic.get() != FRAME_MAGIC {
        return Err("no frame starts here");
    }
    let payload = rest
        .get(..header.stored.get() as usize)
        .ok_or("the frame is cut")?;
    if header.crc.get() != checksum(header.as_bytes(), payload) {
        return Err("the frame's checksum is wrong");
    }
    let content =
        Content::from_number(header.content.get()).ok_or("the frame's codec is unknown")?;
    Ok((header, content, payload))
}

impl FrameHeader {
    /// A header to fill in.
    pub(crate) fn blank() -> Self {
        Self::new_zeroed()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn identity() -> Identity {
        Identity {
            boot_id: *b"0123456789abcdef",
            page_size: 4096,
            created_s: 1_800_000_000,
            processes: vec![
                Parked {
                    pid: 4711,
                    starttime: 12345,
                    comm: *b"python3\0\0\0\0\0\0\0\0\0",
                },
                Parked {
                    pid: 4712,
                    starttime: 12399,
                    comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                },
            ],
        }
    }

    #[test]
    fn a_header_reads_back_and_no_byte_of_it_may_change() {
        let path = Path::new("pages");
        let bytes = encode_header(&identity(), 77).unwrap();
        assert_eq!(bytes.len(), BLOCK);
        let header = decode_header(path, &bytes).unwrap();
        assert_eq!(header.identity, identity());
        assert_eq!((header.store, header.length), (77, BLOCK as u64));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decode_header(path, &changed).is_err(), "byte {at}");
            assert!(decode_header(path, &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_structures_have_the_documented_sizes() {
        assert_eq!(size_of::<RawHeader>(), 64);
        assert_eq!(size_of::<RawProcess>(), 32);
        assert_eq!(FRAME_HEADER, 48);
    }
}
