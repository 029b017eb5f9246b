//! Writing a file of packed pages: one page after another goes in, in the order of their `pages` files.

use super::PackedError;
use super::codec::Codec;
use super::format::{
    CRC_AT, FOOTER_MAGIC, FRAME_MAGIC, FRAME_PAGES, Footer, FrameHeader, HEADER_CRC_AT,
    HEADER_MAGIC, Header, INDEX_MAGIC, IndexHeader, Part, RawFrame, Run, VERSION, checksum,
};
use crate::pagemap::X86_64_PAGE_BYTES;
use std::io::Write;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// Writes one of a set's two files.
#[derive(Debug)]
pub struct PackedWriter<W> {
    file: W,
    set: u64,
    codec: Codec,
    offset: u64,
    /// Pages of the frame that is being filled.
    filling: Vec<u8>,
    frames: Vec<RawFrame>,
    runs: Vec<Run>,
    /// Pages in frames that are written.
    written: u64,
}

impl<W: Write> PackedWriter<W> {
    /// Begins a file. `set` tells the files of one set from those of another.
    ///
    /// # Errors
    /// It can't be written.
    pub fn new(file: W, part: Part, set: u64, codec: Codec) -> Result<Self, PackedError> {
        let mut header = Header {
            magic: HEADER_MAGIC,
            version: U32::new(VERSION),
            page_bytes: U32::new(u32::try_from(X86_64_PAGE_BYTES).unwrap_or(u32::MAX)),
            part: U32::new(part.number()),
            crc: U32::new(0),
            set: U64::new(set),
        };
        header.crc = checksum(header.as_bytes(), HEADER_CRC_AT, &[]);
        let mut writer = Self {
            file,
            set,
            codec,
            offset: 0,
            filling: Vec::new(),
            frames: Vec::new(),
            runs: Vec::new(),
            written: 0,
        };
        writer.put(header.as_bytes())?;
        Ok(writer)
    }

    /// Stores a page, and gives its number in this file. Where it belongs is said by [`PackedWriter::refer`].
    ///
    /// # Errors
    /// A frame can't be written.
    pub fn store(&mut self, page: &[u8]) -> Result<u64, PackedError> {
        let held = self.filling.len() as u64 / X86_64_PAGE_BYTES;
        let number = self.written + held;
        self.filling.extend_from_slice(page);
        if held + 1 == FRAME_PAGES as u64 {
            self.flush_frame()?;
        }
        Ok(number)
    }

    /// Says where pages are found. Runs come in order of `pages_id` and place.
    pub fn refer(&mut self, run: Run) {
        let extended = self
            .runs
            .last_mut()
            .is_some_and(|last| last.try_extend(&run));
        if !extended {
            self.runs.push(run);
        }
    }

    /// Writes the index, and gives the file back with its length in bytes.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(mut self) -> Result<(W, u64), PackedError> {
        self.flush_frame()?;
        let index_offset = self.offset;
        let runs: Vec<_> = self.runs.iter().map(Run::encode).collect();
        let mut header = IndexHeader {
            magic: INDEX_MAGIC,
            crc: U32::new(0),
            set: U64::new(self.set),
            frames: U64::new(self.frames.len() as u64),
            runs: U64::new(runs.len() as u64),
            pages: U64::new(self.written),
        };
        let mut entries = self.frames.as_bytes().to_vec();
        entries.extend_from_slice(runs.as_bytes());
        header.crc = checksum(header.as_bytes(), CRC_AT, &entries);
        self.put(header.as_bytes())?;
        self.put(&entries)?;
        let mut footer = Footer {
            magic: FOOTER_MAGIC,
            crc: U32::new(0),
            set: U64::new(self.set),
            index_offset: U64::new(index_offset),
            index_length: U64::new(self.offset - index_offset),
        };
        footer.crc = checksum(footer.as_bytes(), CRC_AT, &[]);
        self.put(footer.as_bytes())?;
        self.file.flush().map_err(PackedError::io("write"))?;
        Ok((self.file, self.offset))
    }

    fn flush_frame(&mut self) -> Result<(), PackedError> {
        let pages = self.filling.len() as u64 / X86_64_PAGE_BYTES;
        if pages == 0 {
            return Ok(());
        }
        let (codec, payload) = self.codec.pack(&self.filling);
        let mut header = FrameHeader {
            magic: FRAME_MAGIC,
            crc: U32::new(0),
            set: U64::new(self.set),
            first: U64::new(self.written),
            pages: U16::new(u16::try_from(pages).unwrap_or(u16::MAX)),
            codec: U16::new(codec.number()),
            stored: U32::new(u32::try_from(payload.len()).unwrap_or(u32::MAX)),
        };
        header.crc = checksum(header.as_bytes(), CRC_AT, &payload);
        self.frames.push(RawFrame {
            offset: U64::new(self.offset),
            first: U64::new(self.written),
        });
        self.put(header.as_bytes())?;
        self.put(&payload)?;
        self.written += pages;
        self.filling.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PackedError> {
        self.file
            .write_all(bytes)
            .map_err(PackedError::io("write"))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
