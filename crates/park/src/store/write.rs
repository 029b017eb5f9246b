//! Packing on all cores, in bounded memory: each worker reads a slice, packs it and writes it, with two
//! buffers of its own; slices get their place in the file in order, so that the index needs no sorting.

use super::buffer::Aligned;
use super::disk::{Disk, PagesFile};
use super::format::{Codec, Content, Identity, SLICE_BYTES, Slot, encode_header};
use super::index::{Builder, Located};
use super::pack::Packer;
use super::place::{Planned, create_store};
use super::{Journal, Step, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// All workers together keep within 12 MiB of buffers.
const MOST_WORKERS: usize = 10;

/// Where pages come from.
pub trait PageSource: Sync {
    /// Fills `into` with the memory of a slice: whole pages, all of them present.
    ///
    /// # Errors
    /// When not all of it can be read; the slice is then not parked.
    fn read(&self, slice: &Slice, into: &mut [u8]) -> io::Result<()>;
}

/// Where the pages of a slice are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In memory that the process alone maps.
    Own,
    /// In memory that its relatives map too, since a `fork(2)`.
    Shared,
    /// In this store: they are the very pages that were packed before, under this process and address.
    Stored(Slot, u64),
}

/// Contiguous pages of one process, at most [`SLICE_BYTES`] of them unless they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Whose.
    pub slot: Slot,
    /// Where it starts.
    pub address: u64,
    /// Its length, a multiple of the page size.
    pub bytes: usize,
    /// Where they are found.
    pub origin: Origin,
}

/// What a finished store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of memory, each page counted once however many processes share it.
    pub moved_bytes: u64,
    /// Bytes that a resume makes copies of: pages that processes shared come back to each of them.
    pub copies_bytes: u64,
    /// Bytes of disk.
    pub stored_bytes: u64,
}

/// A store being written.
pub struct Writer<D: Disk = PagesFile> {
    shared: Arc<Shared<D>>,
    dir: PathBuf,
    store: u64,
    page_size: usize,
    index: Builder,
    workers: Vec<Worker>,
    length: u64,
    moved_bytes: u64,
    copies_bytes: u64,
}

/// What makes slices durable, while the next are being packed.
struct Shared<D> {
    disk: D,
    journal: Mutex<Journal>,
    pages: PathBuf,
}

/// Slices that are written, and will be durable once [`Sealer::seal`] has returned.
#[derive(Debug)]
#[must_use]
pub struct Written {
    length: u64,
}

/// Makes what a [`Writer`] has written durable, on another thread than that which packs.
pub struct Sealer<D: Disk = PagesFile>(Arc<Shared<D>>);

impl<D: Disk> Sealer<D> {
    /// Makes slices durable, in the order in which they were written: their pages may then be dropped from the process.
    ///
    /// # Errors
    /// Then none of these slices may be dropped; those before stay as they are.
    pub fn seal(&self, written: &Written) -> Result<(), StoreError> {
        let shared = &self.0;
        shared
            .disk
            .sync()
            .map_err(StoreError::io("sync", &shared.pages))?;
        let journal = shared.journal.lock();
        journal
            .unwrap_or_else(PoisonError::into_inner)
            .append(Step::Durable {
                pages_length: written.length,
            })
    }
}

struct Worker {
    packer: Packer,
    raw: Aligned,
}

/// What the workers share while a group of slices is packed.
struct Turn<'w> {
    next: usize,
    written: usize,
    offset: u64,
    index: &'w mut Builder,
    failed: Option<StoreError>,
}

impl Writer<PagesFile> {
    /// A new store, with `reserve_bytes` of disk set aside where the file system can: what the
    /// pages take at worst.
    ///
    /// # Errors
    /// Nothing is left behind.
    pub fn create(
        planned: &Planned,
        identity: &Identity,
        codec: Codec,
        reserve_bytes: u64,
    ) -> Result<Self, StoreError> {
        Self::create_on(planned, identity, codec, |dir| {
            PagesFile::create(&dir.join("pages"), reserve_bytes)
        })
    }
}

impl<D: Disk> Writer<D> {
    /// As [`Writer::create`], with the file of pages from `disk`.
    pub(crate) fn create_on(
        planned: &Planned,
        identity: &Identity,
        codec: Codec,
        disk: impl FnOnce(&Path) -> Result<D, StoreError>,
    ) -> Result<Self, StoreError> {
        create_store(planned)?;
        let made = Self::fill(&planned.dir, identity, codec, planned.id, disk);
        if made.is_err() {
            let _ = std::fs::remove_dir_all(&planned.dir);
        }
        made
    }

    fn fill(
        dir: &Path,
        identity: &Identity,
        codec: Codec,
        store: u64,
        disk: impl FnOnce(&Path) -> Result<D, StoreError>,
    ) -> Result<Self, StoreError> {
        let header = encode_header(identity, store)?;
        let disk = disk(dir)?;
        let mut aligned = Aligned::new(header.len());
        aligned.bytes_mut().copy_from_slice(&header);
        let pages = dir.join("pages");
        disk.write_at(aligned.bytes(), 0)
            .map_err(StoreError::io("write", &pages))?;
        let page_size = usize::try_from(identity.page_size).unwrap_or(usize::MAX);
        // More than cores: some wait for the disk.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let worker = || -> io::Result<Worker> {
            Ok(Worker {
                packer: Packer::new(codec, page_size)?,
                raw: Aligned::new(SLICE_BYTES),
            })
        };
        let workers: io::Result<Vec<Worker>> = (0..(2 * cores).min(MOST_WORKERS))
            .map(|_| worker())
            .collect();
        Ok(Self {
            index: Builder::create(dir, store, identity.page_size)?,
            workers: workers.map_err(StoreError::io("prepare packing for", &pages))?,
            shared: Arc::new(Shared {
                disk,
                journal: Mutex::new(Journal::create(dir, store)?),
                pages,
            }),
            dir: dir.to_owned(),
            store,
            page_size,
            length: header.len() as u64,
            moved_bytes: 0,
            copies_bytes: 0,
        })
    }

    /// Where the store lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Packs and writes `slices`, in order of process and address, and makes them durable: when this returns
    /// `Ok`, their pages may be dropped from the process.
    ///
    /// # Errors
    /// Then none of these slices may be dropped; those of earlier calls stay as they are.
    pub fn pack(&mut self, source: &dyn PageSource, slices: &[Slice]) -> Result<(), StoreError> {
        let written = self.write(source, slices)?;
        self.sealer().seal(&written)
    }

    /// What makes durable what [`Writer::write`] gives.
    #[must_use]
    pub fn sealer(&self) -> Sealer<D> {
        Sealer(Arc::clone(&self.shared))
    }

    /// As [`Writer::pack`], but not durable yet.
    ///
    /// # Errors
    /// As [`Writer::pack`].
    pub fn write(
        &mut self,
        source: &dyn PageSource,
        slices: &[Slice],
    ) -> Result<Written, StoreError> {
        let turn = Mutex::new(Turn {
            next: 0,
            written: 0,
            offset: self.length,
            index: &mut self.index,
            failed: None,
        });
        let group = Group {
            turn: &turn,
            moved: &Condvar::new(),
            source,
            slices,
            disk: &self.shared.disk,
            pages: &self.shared.pages,
            store: self.store,
            page_size: self.page_size,
        };
        std::thread::scope(|scope| {
            for worker in &mut self.workers {
                let group = &group;
                scope.spawn(move || group.work(worker));
            }
        });
        let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = turn.failed {
            return Err(failed);
        }
        if turn.written != slices.len() {
            return Err(StoreError::Unsupported {
                what: "a worker that ended early",
            });
        }
        self.length = turn.offset;
        for slice in slices {
            match slice.origin {
                Origin::Own | Origin::Shared => self.moved_bytes += slice.bytes as u64,
                Origin::Stored(..) => self.copies_bytes += slice.bytes as u64,
            }
        }
        Ok(Written {
            length: self.length,
        })
    }

    /// The end of the stored run that holds the page at `address`; `None` where that page is not stored, or only as
    /// another's.
    ///
    /// # Errors
    /// When the index that is being written can't be read.
    pub(crate) fn stored_until(&self, slot: Slot, address: u64) -> Result<Option<u64>, StoreError> {
        let run = self.index.last_from(slot, address)?;
        let end = |run: Located| run.end(self.page_size as u64);
        let own = run.filter(|run| run.content != Content::Shared);
        Ok(own.map(end).filter(|end| *end > address))
    }

    /// Finishes the index: the store is complete.
    fn close(self) -> Result<Stored, StoreError> {
        self.index.finish(self.length)?;
        Ok(Stored {
            moved_bytes: self.moved_bytes,
            copies_bytes: self.copies_bytes,
            stored_bytes: self.length,
        })
    }

    /// Removes what was written, for when nothing of it was dropped from its process.
    pub fn discard(self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Writer<PagesFile> {
    /// Gives back what was reserved and not used, and writes the index: the store is complete.
    ///
    /// # Errors
    /// The store is then unfinished, and can be taken up by [`super::Store::recover`].
    pub fn finish(self) -> Result<Stored, StoreError> {
        self.shared.disk.trim(self.length)?;
        self.close()
    }
}

/// One call of [`Writer::pack`], as its workers see it.
struct Group<'g, 'w, D> {
    turn: &'g Mutex<Turn<'w>>,
    moved: &'g Condvar,
    source: &'g dyn PageSource,
    slices: &'g [Slice],
    disk: &'g D,
    pages: &'g Path,
    store: u64,
    page_size: usize,
}

impl<'w, D: Disk> Group<'_, 'w, D> {
    fn work(&self, worker: &mut Worker) {
        while let Some((number, slice)) = self.take() {
            let done = self
                .read_and_pack(worker, slice)
                .and_then(|()| self.write(worker, number));
            if let Err(error) = done {
                self.lock().failed.get_or_insert(error);
                self.moved.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turn<'w>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<(usize, Slice)> {
        let mut turn = self.lock();
        let number = turn.next;
        let slice = self.slices.get(number)?;
        turn.next += 1;
        turn.failed.is_none().then_some((number, *slice))
    }

    fn read_and_pack(&self, worker: &mut Worker, slice: Slice) -> Result<(), StoreError> {
        if !slice.bytes.is_multiple_of(self.page_size) {
            return Err(StoreError::Unsupported {
                what: "a part of a page",
            });
        }
        if let Origin::Stored(slot, address) = slice.origin {
            let source = (slot, address);
            let pages = u32::try_from(slice.bytes / self.page_size).unwrap_or(u32::MAX);
            worker
                .packer
                .pack_shared(slice.slot, slice.address, pages, source);
            return Ok(());
        }
        let raw = worker.raw.bytes_mut().get_mut(..slice.bytes);
        let raw = raw.ok_or(StoreError::Unsupported {
            what: "so long a slice",
        })?;
        self.source
            .read(&slice, raw)
            .map_err(|source| StoreError::Source {
                slot: slice.slot.0,
                address: slice.address,
                bytes: slice.bytes as u64,
                source,
            })?;
        worker
            .packer
            .pack(slice.slot, slice.address, raw, self.page_size);
        Ok(())
    }

    /// Waits for its turn to get a place in the file, then writes beside the others.
    fn write(&self, worker: &mut Worker, number: usize) -> Result<(), StoreError> {
        let mut turn = self.lock();
        while turn.written != number {
            if turn.failed.is_some() {
                return Ok(());
            }
            turn = self
                .moved
                .wait(turn)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let offset = turn.offset;
        turn.offset = offset.saturating_add(worker.packer.sealed_len());
        let (bytes, located) = worker.packer.seal(self.store, offset);
        for run in located {
            turn.index.push(run)?;
        }
        turn.written += 1;
        drop(turn);
        self.moved.notify_all();
        self.disk
            .write_at(bytes, offset)
            .map_err(StoreError::io("write", self.pages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::tests::identity;
    use crate::store::{FrameReader, Pages, Place, Store};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A disk that takes so many writes and syncs, and then is full.
    struct Filling {
        disk: PagesFile,
        left: AtomicI64,
    }

    impl Filling {
        fn take(&self) -> io::Result<()> {
            if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
                Ok(())
            } else {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }

    impl Disk for Filling {
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            if let Err(full) = self.take() {
                let half = bytes.len() / 2; // a part gets through
                self.disk.write_at(&bytes[..half - half % 4096], offset)?;
                return Err(full);
            }
            self.disk.write_at(bytes, offset)
        }

        fn sync(&self) -> io::Result<()> {
            self.take()?;
            self.disk.sync()
        }
    }

    /// Each page says where it belongs.
    struct Numbered;

    impl PageSource for Numbered {
        fn read(&self, slice: &Slice, into: &mut [u8]) -> io::Result<()> {
            for (number, page) in into.chunks_mut(4096).enumerate() {
                let address = slice.address + number as u64 * 4096;
                for word in page.chunks_mut(8) {
                    word.copy_from_slice(&(address ^ 0x5555).to_le_bytes());
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_at_any_write_is_an_error_and_what_was_durable_stays() {
        let slices: Vec<Slice> = (0..6)
            .map(|number| Slice {
                slot: Slot(0),
                address: number * 64 * 4096,
                bytes: 40 * 4096,
                origin: Origin::Own,
            })
            .collect();
        let mut failures = 0;
        for writes in 0..11 {
            let dir = tempfile::tempdir().unwrap();
            let room = Place::new(vec![dir.path().join("root")])
                .even_in_memory()
                .choose(0)
                .unwrap();
            let made =
                Writer::create_on(&room.plan(1, 2).unwrap(), &identity(), Codec::None, |dir| {
                    Ok(Filling {
                        disk: PagesFile::create(&dir.join("pages"), 0)?,
                        left: AtomicI64::new(writes),
                    })
                });
            let Ok(mut writer) = made else {
                failures += 1;
                let left = std::fs::read_dir(&room.root).unwrap().count();
                assert_eq!(
                    left, 0,
                    "nothing is left of a store that could not be begun"
                );
                continue;
            };
            let path = writer.dir().to_owned();
            let mut durable = 0;
            for group in slices.chunks(2) {
                if writer.pack(&Numbered, group).is_err() {
                    failures += 1;
                    break;
                }
                durable += group.len();
            }
            drop(writer);
            let store = Store::recover(&path).unwrap();
            store.verify().unwrap();
            let mut reader = FrameReader::new();
            for slice in &slices[..durable] {
                let run = store.at_or_after(Slot(0), slice.address).unwrap().unwrap();
                let mut expected = [0; 4096];
                Numbered.read(slice, &mut expected).unwrap();
                let Pages::Bytes(bytes) = reader.read(&store, &run, slice.address).unwrap() else {
                    panic!("pages became zeros")
                };
                assert_eq!(bytes[..4096], expected);
            }
        }
        assert_eq!(failures, 10, "every limit but the last fills the disk");
    }
}
