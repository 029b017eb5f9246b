//! Reading a file of packed pages, which may be hostile: nothing is believed before its checksum, and none of its numbers
//! before it fits the others.

use super::PackedError;
use super::codec::Codec;
use super::format::{
    CRC_AT, FOOTER_MAGIC, FRAME_MAGIC, FRAME_PAGES, Footer, FrameHeader, HEADER_CRC_AT,
    HEADER_MAGIC, Header, INDEX_MAGIC, IndexHeader, Part, RawFrame, RawRun, Run, Source, VERSION,
    checksum, take,
};
use crate::pagemap::X86_64_PAGE_BYTES;
use std::io::{Read, Seek, SeekFrom};
use zerocopy::{FromBytes, IntoBytes};

/// One of a set's two files, open for reading. Holds its index in memory, and the frame it unpacked last.
#[derive(Debug)]
pub struct PackedReader<R> {
    file: R,
    set: u64,
    part: Part,
    frames: Vec<RawFrame>,
    /// Where the index begins and frames end.
    index_offset: u64,
    pages: u64,
    runs: Vec<Run>,
    /// The number of its first page, and the pages.
    unpacked: Option<(u64, Vec<u8>)>,
}

fn broken(what: &'static str) -> PackedError {
    PackedError::Broken { what }
}

impl<R: Read + Seek> PackedReader<R> {
    /// Opens a file and reads its index.
    ///
    /// # Errors
    /// It is none, is not whole, is of an unknown version, or can't be read.
    pub fn open(mut file: R) -> Result<Self, PackedError> {
        let length = file
            .seek(SeekFrom::End(0))
            .map_err(PackedError::io("seek"))?;
        let header = read_at(&mut file, 0, size_of::<Header>() as u64)?;
        let (header, _) = take::<Header>(&header, "it ends inside its header")?;
        if header.magic != HEADER_MAGIC {
            return Err(broken("it does not begin as one"));
        }
        if header.version.get() != VERSION {
            let version = header.version.get();
            return Err(PackedError::Version { version });
        }
        let sealed = checksum(header.as_bytes(), HEADER_CRC_AT, &[]);
        if sealed != header.crc || u64::from(header.page_bytes.get()) != X86_64_PAGE_BYTES {
            return Err(broken("its header is damaged"));
        }
        let part = Part::from_number(header.part.get()).ok_or(broken("it is neither part"))?;
        let set = header.set.get();
        let (index_offset, index) = read_index(&mut file, length, set)?;
        let mut reader = Self {
            file,
            set,
            part,
            frames: Vec::new(),
            index_offset,
            pages: 0,
            runs: Vec::new(),
            unpacked: None,
        };
        reader.parse_index(&index)?;
        Ok(reader)
    }

    fn parse_index(&mut self, bytes: &[u8]) -> Result<(), PackedError> {
        let (header, entries) = take::<IndexHeader>(bytes, "its index is cut")?;
        let sealed = checksum(header.as_bytes(), CRC_AT, entries);
        if header.magic != INDEX_MAGIC || header.crc != sealed || header.set.get() != self.set {
            return Err(broken("its index is damaged"));
        }
        let count =
            |number: u64| usize::try_from(number).map_err(|_| broken("its index is too long"));
        let (frames, rest) =
            <[RawFrame]>::ref_from_prefix_with_elems(entries, count(header.frames.get())?)
                .map_err(|_| broken("its index has fewer frames than it says"))?;
        let (runs, rest) = <[RawRun]>::ref_from_prefix_with_elems(rest, count(header.runs.get())?)
            .map_err(|_| broken("its index has fewer runs than it says"))?;
        if !rest.is_empty() {
            return Err(broken("its index has more than it says"));
        }
        self.pages = header.pages.get();
        self.frames = frames.to_vec();
        let ascend = frames.windows(2).all(|pair| match pair {
            [a, b] => a.offset.get() < b.offset.get() && a.first.get() < b.first.get(),
            _ => true,
        });
        let starts = frames.first().map_or(self.pages == 0, |frame| {
            frame.first.get() == 0 && frame.offset.get() == size_of::<Header>() as u64
        });
        let ends = frames.last().is_none_or(|frame| {
            frame.first.get() < self.pages && frame.offset.get() < self.index_offset
        });
        if !ascend || !starts || !ends {
            return Err(broken("its frames are out of order"));
        }
        let runs: Option<Vec<Run>> = runs.iter().map(Run::decode).collect();
        self.runs = runs.ok_or(broken("its index holds a run that can't be"))?;
        let in_order = self.runs.windows(2).all(|pair| match pair {
            [a, b] => (a.pages_id, a.first + a.count) <= (b.pages_id, b.first),
            _ => true,
        });
        let inside = self.runs.iter().all(|run| match run.source {
            Source::Here(page) => page + run.count <= self.pages,
            _ => true,
        });
        if !in_order || !inside {
            return Err(broken("its runs don't fit its pages"));
        }
        Ok(())
    }

    /// Which of the two files it is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// What tells the files of one set from those of another.
    pub fn set(&self) -> u64 {
        self.set
    }

    /// How many pages it stores.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// What it knows, in order of `pages_id` and place.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Where a page is found, and how many after it are found behind it; `None` if this file does not know it.
    pub fn find(&self, pages_id: u32, page: u64) -> Option<(Source, u64)> {
        let after = self
            .runs
            .partition_point(|run| (run.pages_id, run.first) <= (pages_id, page));
        let run = self.runs.get(after.checked_sub(1)?)?;
        let skip = page.checked_sub(run.first)?;
        if run.pages_id != pages_id || skip >= run.count {
            return None;
        }
        let source = match run.source {
            Source::Zeros => Source::Zeros,
            Source::Here(page) => Source::Here(page + skip),
            Source::Parent { level, part, page } => Source::Parent {
                level,
                part,
                page: page + skip,
            },
        };
        Some((source, run.count - skip))
    }

    /// Reads a page that lies in this file, by its number there.
    ///
    /// # Errors
    /// There is none, or its frame is damaged.
    pub fn read_page(&mut self, number: u64, into: &mut [u8]) -> Result<(), PackedError> {
        if number >= self.pages {
            return Err(broken("a page behind its last"));
        }
        let after = self
            .frames
            .partition_point(|frame| frame.first.get() <= number);
        let at = after.saturating_sub(1);
        let frame = *self.frames.get(at).ok_or(broken("it has no frames"))?;
        let first = frame.first.get();
        if self
            .unpacked
            .as_ref()
            .is_none_or(|(held, _)| *held != first)
        {
            self.unpacked = Some((first, self.read_frame(at)?));
        }
        let skip = (number - first).saturating_mul(X86_64_PAGE_BYTES);
        let held = self.unpacked.as_ref().map(|(_, pages)| pages.as_slice());
        let page = held
            .and_then(|pages| pages.get(usize::try_from(skip).ok()?..)?.get(..into.len()))
            .ok_or(PackedError::Frame {
                offset: frame.offset.get(),
                what: "it holds fewer pages than the index says",
            })?;
        into.copy_from_slice(page);
        Ok(())
    }

    /// Unpacks every frame.
    ///
    /// # Errors
    /// One is damaged.
    pub fn check_frames(&mut self) -> Result<(), PackedError> {
        (0..self.frames.len()).try_for_each(|at| self.read_frame(at).map(drop))
    }

    fn read_frame(&mut self, at: usize) -> Result<Vec<u8>, PackedError> {
        let frame = *self.frames.get(at).ok_or(broken("it has no such frame"))?;
        let next = self.frames.get(at + 1);
        let offset = frame.offset.get();
        let end = next.map_or(self.index_offset, |next| next.offset.get());
        let pages = next.map_or(self.pages, |next| next.first.get()) - frame.first.get();
        let wrong = |what| PackedError::Frame { offset, what };
        // Whatever the codec: a frame is never longer than its pages.
        let limit = FRAME_PAGES as u64 * X86_64_PAGE_BYTES + size_of::<FrameHeader>() as u64;
        if pages > FRAME_PAGES as u64 || end - offset > limit {
            return Err(wrong("it is too large"));
        }
        let bytes = read_at(&mut self.file, offset, end - offset)?;
        let (header, payload) = take::<FrameHeader>(&bytes, "a frame is cut")?;
        if header.magic != FRAME_MAGIC || header.crc != checksum(header.as_bytes(), CRC_AT, payload)
        {
            return Err(wrong("its checksum does not fit"));
        }
        let named = (
            header.set.get(),
            header.first.get(),
            header.pages.get().into(),
        );
        if named != (self.set, frame.first.get(), pages)
            || header.stored.get() as usize != payload.len()
        {
            return Err(wrong("it is another frame than the index says"));
        }
        let codec =
            Codec::from_number(header.codec.get()).ok_or(wrong("its codec is not known"))?;
        let length = usize::try_from(pages * X86_64_PAGE_BYTES).unwrap_or(usize::MAX);
        codec
            .unpack(payload, length)
            .ok_or(wrong("it does not unpack to its pages"))
    }
}

fn read_index<R: Read + Seek>(
    file: &mut R,
    length: u64,
    set: u64,
) -> Result<(u64, Vec<u8>), PackedError> {
    let footer_at = length
        .checked_sub(size_of::<Footer>() as u64)
        .ok_or(broken("it ends inside its header"))?;
    let footer = read_at(file, footer_at, size_of::<Footer>() as u64)?;
    let (footer, _) = take::<Footer>(&footer, "it has no end")?;
    let sealed = checksum(footer.as_bytes(), CRC_AT, &[]);
    if footer.magic != FOOTER_MAGIC || footer.crc != sealed || footer.set.get() != set {
        return Err(broken("its end is missing or damaged"));
    }
    let (offset, index_length) = (footer.index_offset.get(), footer.index_length.get());
    if offset.checked_add(index_length) != Some(footer_at) {
        return Err(broken("its index is not where its end says"));
    }
    Ok((offset, read_at(file, offset, index_length)?))
}

/// Reads so many bytes; memory grows with what is there, not with what is asked.
fn read_at<R: Read + Seek>(file: &mut R, offset: u64, length: u64) -> Result<Vec<u8>, PackedError> {
    file.seek(SeekFrom::Start(offset))
        .map_err(PackedError::io("seek"))?;
    let mut bytes = Vec::new();
    let read = file
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(PackedError::io("read"))?;
    if read as u64 == length {
        Ok(bytes)
    } else {
        Err(broken("it ends too early"))
    }
}
