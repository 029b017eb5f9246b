//! Reading a store: by address for the pager, from end to end for those who check it, from the front when its
//! writer was killed.

use super::buffer::Aligned;
use super::disk::PagesFile;
use super::format::{
    BLOCK, Codec, Content, FRAME_BYTES, FRAME_HEADER, Header, Identity, MAX_PROCESSES, SLICE_BYTES,
    SharedSource, Slot, decode_header, header_length, open_frame,
};
use super::index::{Builder, Index, Located};
use super::pack::unpack;
use super::place::check_private;
use super::{Journal, Step, StoreError};
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// What a frame's bytes may take in the file.
const MOST_STORED: usize = FRAME_BYTES + FRAME_HEADER;

/// A complete store, open for reading.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    path: PathBuf,
    pages: PagesFile,
    header: Header,
    index: Index,
}

/// Pages as they were.
#[derive(Debug, PartialEq, Eq)]
pub enum Pages<'r> {
    /// So many zero bytes.
    Zeros(u64),
    /// These bytes.
    Bytes(&'r [u8]),
}

/// The most that a reader reads at once.
const WINDOW: usize = SLICE_BYTES + 16 * BLOCK;

/// What is read at once of frames that name others: they are small, and lie side by side.
const NAMES: usize = 4 * BLOCK;

/// The buffers of one reader; each thread of the pager has its own.
pub struct FrameReader {
    /// Frames with pages.
    stored: Window,
    /// Frames that name others, so that reading what they name does not cost them their place.
    names: Window,
    pages: Box<[u8]>,
    /// The frame whose pages are in the buffer.
    held: Option<Located>,
}

/// The header of the store in `dir`.
pub(crate) fn header(dir: &Path) -> Result<Header, StoreError> {
    let path = dir.join("pages");
    read_header(&PagesFile::open(&path)?, &path)
}

fn read_header(pages: &PagesFile, path: &Path) -> Result<Header, StoreError> {
    let mut first = Aligned::new(BLOCK);
    let length = header_length(path, pages.read_around(&mut first, 0, BLOCK)?)?;
    let mut whole = Aligned::new(length.min(MAX_PROCESSES * 32 + BLOCK));
    decode_header(path, pages.read_around(&mut whole, 0, length)?)
}

impl Store {
    /// Opens a complete store and checks its header and what its index begins with; blocks of the index and frames are
    /// checked when they are read.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] when its writer did not finish: [`Store::recover`] takes it up.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        check_private(dir)?;
        let path = dir.join("pages");
        let pages = PagesFile::open(&path)?;
        let header = read_header(&pages, &path)?;
        let index = Index::open(dir, header.store, header.identity.page_size)?;
        if pages.length()? != index.pages_length {
            return Err(StoreError::damaged(
                &path,
                index.pages_length,
                "the file is not as long as it was",
            ));
        }
        Ok(Self {
            dir: dir.to_owned(),
            path,
            pages,
            header,
            index,
        })
    }

    /// Completes a store whose writer was killed: walks its frames, which must reach at least as far as the
    /// journal says was durable, and writes the index anew.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a frame before that is not whole; nothing is then changed.
    pub fn recover(dir: &Path) -> Result<Self, StoreError> {
        check_private(dir)?;
        let path = dir.join("pages");
        let pages = PagesFile::open(&path)?;
        let header = read_header(&pages, &path)?;
        let (_, steps) = Journal::open(dir, header.store)?;
        let durable = steps.last();
        let durable = durable.map_or(header.length, |Step::Durable { pages_length }| {
            *pages_length
        });
        let unfinished = dir.join("index.new");
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &unfinished)(error));
            }
            _ => {}
        }
        let mut index = Builder::create(dir, header.store, header.identity.page_size)?;
        walk(&pages, &path, &header, durable, |located| {
            index.push(located)
        })?;
        // What lies behind was never dropped from memory; cutting it makes the length agree with the index.
        let file = std::fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_len(durable))
            .map_err(StoreError::io("trim", &path))?;
        index.finish(durable)?;
        Self::open(dir)
    }

    /// Whose memory this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.header.identity
    }

    /// Where the store lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of disk that the pages take.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.index.pages_length
    }

    /// The stored run that holds the page at `address`, or else the next one of that process.
    ///
    /// # Errors
    /// When the index can't be read or is damaged.
    pub fn at_or_after(&self, slot: Slot, address: u64) -> Result<Option<Located>, StoreError> {
        self.index.at_or_after(slot, address)
    }

    /// As [`Store::at_or_after`], passing over runs of zeros.
    ///
    /// # Errors
    /// When the index can't be read or is damaged.
    pub fn next_pages(&self, slot: Slot, address: u64) -> Result<Option<Located>, StoreError> {
        let mut at = address;
        loop {
            match self.at_or_after(slot, at)? {
                Some(run) if run.content == Content::Zeros => {
                    at = run.end(self.header.identity.page_size)
                }
                found => return Ok(found),
            }
        }
    }

    /// Has the kernel read the index ahead, so that who looks into it does not wait for the disk at every block.
    pub fn read_index_ahead(&self) {
        self.index.read_ahead();
    }

    /// Reads everything once: every frame, every checksum, every entry of the index.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(&self) -> Result<(), StoreError> {
        let mut entries = 0;
        walk(
            &self.pages,
            &self.path,
            &self.header,
            self.index.pages_length,
            |located| {
                entries += 1;
                let known = self.index.at_or_after(located.slot, located.address)?;
                if known == Some(*located) {
                    Ok(())
                } else {
                    Err(StoreError::damaged(
                        &self.path,
                        located.offset,
                        "the index does not know this frame",
                    ))
                }
            },
        )?;
        if entries == self.index.entries {
            Ok(())
        } else {
            Err(StoreError::damaged(
                &self.path,
                0,
                "frames of the index are missing",
            ))
        }
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// Allocates its buffers, once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stored: Window::new(WINDOW),
            names: Window::new(NAMES.max(MOST_STORED)),
            pages: vec![0; FRAME_BYTES].into_boxed_slice(),
            held: None,
        }
    }

    /// The pages of `run` from `address` on, as far as one frame goes. `run` is what
    /// [`Store::at_or_after`] gave, and holds `address`.
    ///
    /// # Errors
    /// Whatever does not check: never a wrong page.
    pub fn read(
        &mut self,
        store: &Store,
        run: &Located,
        address: u64,
    ) -> Result<Pages<'_>, StoreError> {
        let page_size = store.header.identity.page_size;
        let outside = || {
            StoreError::damaged(
                &store.path,
                run.offset,
                "a page that the frame does not hold",
            )
        };
        if address < run.address || address >= run.end(page_size) {
            return Err(outside());
        }
        let left = run.end(page_size) - address;
        if run.content != Content::Shared {
            return self.read_frame(store, run, address, left);
        }
        let source = self.source(store, run)?;
        let wanted = source
            .address
            .get()
            .checked_add(address - run.address)
            .ok_or_else(outside)?;
        let found = store.at_or_after(Slot(source.slot.get()), wanted)?;
        let found =
            found.filter(|found| found.address <= wanted && found.content != Content::Shared);
        self.read_frame(store, &found.ok_or_else(outside)?, wanted, left)
    }

    fn read_frame(
        &mut self,
        store: &Store,
        run: &Located,
        address: u64,
        at_most: u64,
    ) -> Result<Pages<'_>, StoreError> {
        let page_size = store.header.identity.page_size;
        let len = at_most.min(run.end(page_size).saturating_sub(address));
        if run.content == Content::Zeros {
            return Ok(Pages::Zeros(len)); // the index, which is checked, says it all
        }
        let damaged = |what| StoreError::damaged(&store.path, run.offset, what);
        let whole = u64::from(run.pages).saturating_mul(page_size);
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        if self.held != Some(*run) {
            self.held = None;
            let payload = self.stored.fetch(store, run, 0)?;
            let into = self
                .pages
                .get_mut(..whole)
                .ok_or_else(|| damaged("a frame that is too large"))?;
            unpack(run.content, payload, into).map_err(damaged)?;
            self.held = Some(*run);
        }
        let from = usize::try_from(address - run.address).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        let bytes = self.pages.get(from..to.min(whole));
        bytes
            .map(Pages::Bytes)
            .ok_or_else(|| damaged("a page that the frame does not hold"))
    }

    fn source(&mut self, store: &Store, run: &Located) -> Result<SharedSource, StoreError> {
        let payload = self.names.fetch(store, run, NAMES)?;
        SharedSource::read_from_bytes(payload)
            .ok()
            .filter(|source| source.reserved.get() == 0)
            .ok_or_else(|| {
                StoreError::damaged(&store.path, run.offset, "a sharing frame of the wrong size")
            })
    }

    /// Reads the frames from that of `first` to that of `last` in one go, as far as there is room, so that those who
    /// ask for them next don't wait for the disk each.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub fn read_ahead(
        &mut self,
        store: &Store,
        first: &Located,
        last: &Located,
    ) -> Result<(), StoreError> {
        let end = last.offset + (FRAME_HEADER as u64) + u64::from(last.stored);
        let len = usize::try_from(end.saturating_sub(first.offset)).unwrap_or(WINDOW);
        self.stored.load(store, first.offset, len.min(WINDOW))
    }
}

/// A part of the file that is in memory.
struct Window {
    buffer: Aligned,
    /// Where it begins in the file.
    offset: u64,
    /// So many bytes; none while nothing was read.
    len: usize,
}

impl Window {
    /// Room for so many bytes, wherever they begin.
    fn new(room: usize) -> Self {
        Self {
            buffer: Aligned::new(room + 2 * BLOCK),
            offset: 0,
            len: 0,
        }
    }

    fn load(&mut self, store: &Store, offset: u64, len: usize) -> Result<(), StoreError> {
        self.len = 0;
        let read = store.pages.read_around(&mut self.buffer, offset, len)?;
        (self.offset, self.len) = (offset, read.len());
        Ok(())
    }

    /// The bytes from `offset` on, if all of them are here.
    fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let ahead = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        if ahead.checked_add(len)? > self.len {
            return None;
        }
        let skipped = usize::try_from(self.offset % BLOCK as u64).ok()?;
        self.buffer.bytes().get(ahead.checked_add(skipped)?..)
    }

    /// The payload of the frame of `run`, once its header says just what the index said; from here, or else from the
    /// disk, and then `ahead` bytes at once as far as the file goes.
    fn fetch(&mut self, store: &Store, run: &Located, ahead: usize) -> Result<&[u8], StoreError> {
        let damaged = |what| StoreError::damaged(&store.path, run.offset, what);
        let len = FRAME_HEADER.saturating_add(run.stored as usize);
        if len > MOST_STORED {
            return Err(damaged("a frame that is too large"));
        }
        if self.bytes(run.offset, len).is_none() {
            let left = store.index.pages_length.saturating_sub(run.offset);
            let ahead = ahead.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.load(store, run.offset, len.max(ahead))?;
        }
        let bytes = self.bytes(run.offset, len).unwrap_or_default();
        let (located, payload) = locate(bytes, &store.header, run.offset).map_err(damaged)?;
        if located == *run {
            Ok(payload)
        } else {
            Err(damaged("the index and the frame do not agree"))
        }
    }
}

/// The frame at the start of `bytes`, which lie at `offset`, as an entry of the index, and its payload.
fn locate<'b>(
    bytes: &'b [u8],
    header: &Header,
    offset: u64,
) -> Result<(Located, &'b [u8]), &'static str> {
    let (frame, content, payload) = open_frame(bytes)?;
    if frame.store.get() != header.store || frame.offset.get() != offset {
        return Err("the frame belongs elsewhere");
    }
    let located = Located {
        slot: Slot(frame.slot.get()),
        address: frame.address.get(),
        pages: frame.pages.get(),
        content,
        offset,
        stored: frame.stored.get(),
    };
    let page_size = header.identity.page_size;
    let bytes = u64::from(located.pages).saturating_mul(page_size);
    let possible = match content {
        Content::Padding => payload.iter().all(|byte| *byte == 0) && located.pages == 0,
        Content::Zeros => payload.is_empty(),
        Content::Shared => payload.len() == size_of::<SharedSource>(),
        Content::Pages(Codec::None) => payload.len() as u64 == bytes,
        Content::Pages(_) => bytes <= FRAME_BYTES as u64,
    };
    let known = (located.slot.0 as usize) < header.identity.processes.len();
    let aligned = located.address.is_multiple_of(page_size);
    if possible && known && aligned && located.address.checked_add(bytes).is_some() {
        Ok((located, payload))
    } else {
        Err("the frame has impossible values")
    }
}

/// Every frame from the header to exactly `end`, except padding.
fn walk(
    pages: &PagesFile,
    path: &Path,
    header: &Header,
    end: u64,
    mut visit: impl FnMut(&Located) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // A window holds whole frames, and always the next one.
    let mut window = Aligned::new(4 * MOST_STORED.next_multiple_of(BLOCK));
    let mut offset = header.length;
    while offset < end {
        let room = window.bytes().len() - BLOCK;
        let bytes = pages.read_around(&mut window, offset, room)?;
        let start = offset;
        while offset < end {
            let ahead = usize::try_from(offset - start).unwrap_or(usize::MAX);
            if ahead > 0 && room.saturating_sub(ahead) < MOST_STORED {
                break;
            }
            let rest = bytes.get(ahead..).unwrap_or_default();
            let (located, payload) = locate(rest, header, offset)
                .map_err(|what| StoreError::damaged(path, offset, what))?;
            if located.content != Content::Padding {
                visit(&located)?;
            }
            offset = offset.saturating_add((FRAME_HEADER + payload.len()) as u64);
        }
    }
    if offset == end {
        Ok(())
    } else {
        Err(StoreError::damaged(
            path,
            end,
            "a frame reaches past the end",
        ))
    }
}
