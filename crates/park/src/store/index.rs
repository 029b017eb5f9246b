//! The index of a store: where each page is, by process and address. Written as the pages go out, in the
//! order of processes and addresses; read by binary search, a block at a time, so that its size in memory is
//! 16 bytes for each 127 frames.
//!
//! Opening it reads these 16 bytes a block, the *fences*, and no block: a tree is to run long before its whole
//! index has been read. A block is checked each time it is read, so damage is found before anything in it is believed.
//!
//! It is written under another name and renamed last: a file `index` means that the store is complete.

use super::StoreError;
use super::format::{BLOCK, Content, Slot, VERSION, checksum};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

const INDEX_MAGIC: u32 = u32::from_le_bytes(*b"PLix");
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"PLib");
const FENCE_MAGIC: u32 = u32::from_le_bytes(*b"PLif");
const ENTRIES: usize = (BLOCK - size_of::<RawBlockHeader>()) / size_of::<RawEntry>();
/// Blocks that are kept in memory: those that faults here and there, and threads that go through all of it, ask for.
const RECENT: usize = 64;
const FENCES: usize = (BLOCK - size_of::<RawBlockHeader>()) / size_of::<RawFence>();

/// A run of pages and the frame that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Whose pages.
    pub slot: Slot,
    /// The first page.
    pub address: u64,
    /// How many.
    pub pages: u32,
    pub(crate) content: Content,
    /// The frame's place in `pages`, and the bytes after its header.
    pub(crate) offset: u64,
    pub(crate) stored: u32,
}

impl Located {
    /// The address after the last page.
    #[must_use]
    pub fn end(&self, page_size: u64) -> u64 {
        self.address
            .saturating_add(u64::from(self.pages).saturating_mul(page_size))
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawIndexHeader {
    magic: U32,
    crc: U32,
    version: U32,
    reserved: U32,
    store: U64,
    blocks: U64,
    entries: U64,
    pages_length: U64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlockHeader {
    magic: U32,
    crc: U32,
    store: U64,
    number: U64,
    entries: U32,
    reserved: U32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    address: U64,
    offset: U64,
    slot: U32,
    pages: U32,
    content: U32,
    stored: U32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlock {
    header: RawBlockHeader,
    entries: [RawEntry; ENTRIES],
}

/// The first run of a block.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFence {
    address: U64,
    slot: U32,
    reserved: U32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFences {
    header: RawBlockHeader,
    fences: [RawFence; FENCES],
}

impl From<&Located> for RawEntry {
    fn from(located: &Located) -> Self {
        Self {
            address: U64::new(located.address),
            offset: U64::new(located.offset),
            slot: U32::new(located.slot.0),
            pages: U32::new(located.pages),
            content: U32::new(located.content.number()),
            stored: U32::new(located.stored),
        }
    }
}

impl RawEntry {
    fn located(&self) -> Option<Located> {
        Some(Located {
            slot: Slot(self.slot.get()),
            address: self.address.get(),
            pages: self.pages.get(),
            content: Content::from_number(self.content.get())?,
            offset: self.offset.get(),
            stored: self.stored.get(),
        })
    }
}

/// Where the index lies, unfinished and finished.
fn names(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("index.new"), dir.join("index"))
}

/// Writes an index block by block.
pub(crate) struct Builder {
    file: File,
    path: PathBuf,
    store: u64,
    block: Box<RawBlock>,
    filled: usize,
    blocks: u64,
    entries: u64,
    /// The first run of each block, the open one included.
    fences: Vec<(Slot, u64)>,
    /// The end of the last run, to refuse what is out of order.
    reached: (Slot, u64),
    page_size: u64,
}

impl Builder {
    pub(crate) fn create(dir: &Path, store: u64, page_size: u64) -> Result<Self, StoreError> {
        let (path, _) = names(dir);
        let mut file = super::place::create_private(&path)?;
        file.write_all(&[0; BLOCK])
            .map_err(StoreError::io("write", &path))?;
        Ok(Self {
            file,
            path,
            store,
            block: Box::new(RawBlock::new_zeroed()),
            filled: 0,
            blocks: 0,
            entries: 0,
            fences: Vec::new(),
            reached: (Slot(0), 0),
            page_size,
        })
    }

    /// Adds the next run; runs come by process, then by address, and never overlap.
    pub(crate) fn push(&mut self, located: &Located) -> Result<(), StoreError> {
        if (located.slot, located.address) < self.reached {
            return Err(StoreError::Unsupported {
                what: "pages that are out of order",
            });
        }
        self.reached = (located.slot, located.end(self.page_size));
        if self.filled == 0 {
            self.fences.push((located.slot, located.address));
        }
        if let Some(entry) = self.block.entries.get_mut(self.filled) {
            *entry = located.into();
        }
        self.filled += 1;
        self.entries += 1;
        if self.filled == ENTRIES {
            self.flush()?;
        }
        Ok(())
    }

    /// The last run of a process that starts at `address` or before it.
    pub(crate) fn last_from(
        &self,
        slot: Slot,
        address: u64,
    ) -> Result<Option<Located>, StoreError> {
        let wanted = (slot, address);
        let last_of = |entries: &[RawEntry]| {
            let runs = entries.iter().filter_map(RawEntry::located);
            let before = runs.take_while(|run| (run.slot, run.address) <= wanted);
            before.last().filter(|run| run.slot == slot)
        };
        let open = self.block.entries.get(..self.filled).unwrap_or_default();
        let first_open = open.first().and_then(RawEntry::located);
        if first_open.is_some_and(|run| (run.slot, run.address) <= wanted) {
            return Ok(last_of(open));
        }
        let after = self.fences.partition_point(|first| *first <= wanted);
        let Some(number) = after.checked_sub(1) else {
            return Ok(None);
        };
        let block = read_block(&self.file, &self.path, self.store, number as u64)?;
        Ok(last_of(&block.entries))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.block.header = block_header(BLOCK_MAGIC, self.store, self.blocks, self.filled);
        self.block.header.crc = U32::new(checksum(self.block.as_bytes(), &[]));
        self.file
            .write_all(self.block.as_bytes())
            .map_err(StoreError::io("write", &self.path))?;
        self.block.zero();
        self.filled = 0;
        self.blocks += 1;
        Ok(())
    }

    /// Writes the first run of each block, behind them all.
    fn write_fences(&mut self) -> Result<(), StoreError> {
        for (number, fences) in (0..).zip(self.fences.chunks(FENCES)) {
            let mut block = RawFences::new_zeroed();
            block.header = block_header(FENCE_MAGIC, self.store, number, fences.len());
            for (raw, (slot, address)) in block.fences.iter_mut().zip(fences) {
                raw.slot = U32::new(slot.0);
                raw.address = U64::new(*address);
            }
            block.header.crc = U32::new(checksum(block.as_bytes(), &[]));
            self.file
                .write_all(block.as_bytes())
                .map_err(StoreError::io("write", &self.path))?;
        }
        Ok(())
    }

    /// Writes the header, makes all of it durable and gives it its name.
    pub(crate) fn finish(mut self, pages_length: u64) -> Result<(), StoreError> {
        if self.filled > 0 {
            self.flush()?;
        }
        self.write_fences()?;
        let header = RawIndexHeader {
            magic: U32::new(INDEX_MAGIC),
            crc: U32::new(0),
            version: U32::new(VERSION),
            reserved: U32::new(0),
            store: U64::new(self.store),
            blocks: U64::new(self.blocks),
            entries: U64::new(self.entries),
            pages_length: U64::new(pages_length),
        };
        let mut block = [0; BLOCK];
        header.write_to_prefix(&mut block).ok();
        let crc = checksum(&block, &[]);
        if let Some(place) = block.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.file
            .write_all_at(&block, 0)
            .and_then(|()| self.file.sync_data())
            .map_err(StoreError::io("write", &self.path))?;
        let (new, done) = names(dir);
        std::fs::rename(&new, &done).map_err(StoreError::io("rename", &new))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::io("sync", dir))
    }
}

fn block_header(magic: u32, store: u64, number: u64, filled: usize) -> RawBlockHeader {
    RawBlockHeader {
        magic: U32::new(magic),
        crc: U32::new(0),
        store: U64::new(store),
        number: U64::new(number),
        entries: U32::new(u32::try_from(filled).unwrap_or(u32::MAX)),
        reserved: U32::new(0),
    }
}

/// A block and its number.
type Recent = Option<(u64, Arc<RawBlock>)>;

/// A finished index; each block is checked where it is read.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    path: PathBuf,
    store: u64,
    page_size: u64,
    /// The first run of each block.
    firsts: Vec<(Slot, u64)>,
    /// Blocks that were read last, each checked, at their number modulo so many.
    recent: [Mutex<Recent>; RECENT],
    pub(crate) pages_length: u64,
    pub(crate) entries: u64,
}

impl Index {
    /// Opens it: reads its header and its fences.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] when there is none.
    pub(crate) fn open(dir: &Path, store: u64, page_size: u64) -> Result<Self, StoreError> {
        let (_, path) = names(dir);
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::Unfinished {
                path: dir.to_owned(),
            },
            _ => StoreError::io("open", &path)(error),
        })?;
        let damaged = |what| StoreError::damaged(&path, 0, what);
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, 0)
            .map_err(StoreError::io("read", &path))?;
        let (header, _) =
            RawIndexHeader::ref_from_prefix(&block).map_err(|_| damaged("no whole header"))?;
        if header.magic.get() != INDEX_MAGIC || header.crc.get() != checksum(&block, &[]) {
            return Err(damaged("the index header's checksum is wrong"));
        }
        if header.version.get() != VERSION {
            return Err(StoreError::Version {
                path: path.clone(),
                found: header.version.get(),
                supported: VERSION,
            });
        }
        let length = file
            .metadata()
            .map_err(StoreError::io("stat", &path))?
            .len();
        let blocks = header.blocks.get();
        let expected = blocks
            .checked_add(blocks.div_ceil(FENCES as u64))
            .and_then(|n| n.checked_add(1))
            .and_then(|n| n.checked_mul(BLOCK as u64));
        if header.store.get() != store || expected != Some(length) {
            return Err(damaged("the index is cut, or another store's"));
        }
        let mut index = Self {
            store,
            page_size,
            firsts: Vec::new(),
            recent: std::array::from_fn(|_| Mutex::default()),
            pages_length: header.pages_length.get(),
            entries: header.entries.get(),
            file,
            path: path.clone(),
        };
        index.read_fences(blocks)?;
        Ok(index)
    }

    fn read_fences(&mut self, blocks: u64) -> Result<(), StoreError> {
        for number in 0..blocks.div_ceil(FENCES as u64) {
            let offset = offset_of(blocks.saturating_add(number));
            let damaged = |what| StoreError::damaged(&self.path, offset, what);
            let mut block = RawFences::new_zeroed();
            self.file
                .read_exact_at(block.as_mut_bytes(), offset)
                .map_err(StoreError::io("read", &self.path))?;
            let before = number.saturating_mul(FENCES as u64);
            let expected = usize::try_from(blocks - before)
                .unwrap_or(FENCES)
                .min(FENCES);
            let whole = is_whole(
                FENCE_MAGIC,
                self.store,
                number,
                &block.header,
                block.as_bytes(),
            );
            if !whole || block.header.entries.get() as usize != expected {
                return Err(damaged("a block of fences has a wrong checksum"));
            }
            let fences = block.fences.iter().take(expected);
            for fence in fences.map(|raw| (Slot(raw.slot.get()), raw.address.get())) {
                if self.firsts.last().is_some_and(|last| *last >= fence) {
                    return Err(damaged("fences are out of order"));
                }
                self.firsts.push(fence);
            }
        }
        Ok(())
    }

    /// Has the kernel read all of it ahead.
    pub(crate) fn read_ahead(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::WillNeed); // a wish
    }

    /// A block, from those that were read last or from the disk.
    fn block(&self, number: u64) -> Result<Arc<RawBlock>, StoreError> {
        let place = usize::try_from(number % RECENT as u64).unwrap_or(0);
        let recent = self.recent.get(place).map(|recent| {
            let recent = recent.lock();
            recent.unwrap_or_else(PoisonError::into_inner)
        });
        let Some(mut recent) = recent else {
            return self.read_checked(number).map(Arc::new); // cannot be: RECENT places
        };
        match &*recent {
            Some((there, block)) if *there == number => Ok(Arc::clone(block)),
            _ => {
                let block = Arc::new(self.read_checked(number)?);
                *recent = Some((number, Arc::clone(&block)));
                Ok(block)
            }
        }
    }

    fn read_checked(&self, number: u64) -> Result<RawBlock, StoreError> {
        let block = read_block(&self.file, &self.path, self.store, number)?;
        let damaged = |what| StoreError::damaged(&self.path, offset_of(number), what);
        let fence = usize::try_from(number).ok();
        let fence = fence.and_then(|number| self.firsts.get(number)).copied();
        let mut reached = fence.ok_or_else(|| damaged("a block beyond the fences"))?;
        let first = block.located().flatten().next();
        if first.map(|run| (run.slot, run.address)) != fence {
            return Err(damaged("a block does not begin where its fence says"));
        }
        for located in block.located() {
            let located = located.ok_or_else(|| damaged("an entry has an unknown codec"))?;
            if (located.slot, located.address) < reached {
                return Err(damaged("entries are out of order"));
            }
            if located.offset.saturating_add(u64::from(located.stored)) > self.pages_length {
                return Err(damaged("an entry points past the end of the pages"));
            }
            reached = (located.slot, located.end(self.page_size));
        }
        Ok(block)
    }

    /// The run that holds the page at `address`, or else the first one after it in the same process.
    pub(crate) fn at_or_after(
        &self,
        slot: Slot,
        address: u64,
    ) -> Result<Option<Located>, StoreError> {
        let after = self
            .firsts
            .partition_point(|first| *first <= (slot, address));
        // The block before may end before `address`; then it is the first entry of the next.
        for number in after.saturating_sub(1)..self.firsts.len().min(after.saturating_add(1)) {
            let block = self.block(number as u64)?;
            let found = block.first_where(|run| {
                (run.slot, run.end(self.page_size)) > (slot, address) && run.slot >= slot
            });
            if let Some(run) = found {
                return Ok((run.slot == slot).then_some(run));
            }
        }
        Ok(None)
    }
}

/// Where a block lies in the file.
fn offset_of(number: u64) -> u64 {
    number.saturating_add(1).saturating_mul(BLOCK as u64)
}

/// Whether a block is the one that was written there.
fn is_whole(magic: u32, store: u64, number: u64, header: &RawBlockHeader, bytes: &[u8]) -> bool {
    header.magic.get() == magic
        && header.crc.get() == checksum(bytes, &[])
        && header.store.get() == store
        && header.number.get() == number
}

/// A block, its checksum checked.
fn read_block(file: &File, path: &Path, store: u64, number: u64) -> Result<RawBlock, StoreError> {
    let mut block = RawBlock::new_zeroed();
    let offset = offset_of(number);
    file.read_exact_at(block.as_mut_bytes(), offset)
        .map_err(StoreError::io("read", path))?;
    let header = &block.header;
    let whole = is_whole(BLOCK_MAGIC, store, number, header, block.as_bytes())
        && header.entries.get() as usize <= ENTRIES;
    if whole {
        Ok(block)
    } else {
        let what = "a block of the index has a wrong checksum";
        Err(StoreError::damaged(path, offset, what))
    }
}

impl RawBlock {
    /// The first run for which this holds, as it then does for all after it.
    fn first_where(&self, holds: impl Fn(&Located) -> bool) -> Option<Located> {
        let entries = self.header.entries.get() as usize;
        let entries = self.entries.get(..entries)?;
        let before = |entry: &RawEntry| entry.located().is_some_and(|run| !holds(&run));
        entries.get(entries.partition_point(before))?.located()
    }

    fn located(&self) -> impl Iterator<Item = Option<Located>> {
        let entries = self.header.entries.get() as usize;
        self.entries.iter().take(entries).map(RawEntry::located)
    }
}
