//! The file `pages`: written straight to the device, since a host that parks has no memory to spare for a
//! page cache full of what has just been moved out.
//!
//! `open(2)`, `O_DIRECT`: offset, length and memory are multiples of the block. Where the file system refuses
//! (`EINVAL`), writes go through the page cache and are dropped from it once durable.

use super::StoreError;
use super::buffer::Aligned;
use super::format::BLOCK;
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a [`super::Writer`] writes to. Tests put a disk here that fills up.
pub trait Disk: Sync {
    /// Writes all of `bytes`, whole blocks in aligned memory, at a multiple of the block.
    ///
    /// # Errors
    /// As `pwrite(2)`; a disk that takes only a part of it is full.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written is durable.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    fn sync(&self) -> io::Result<()>;
}

/// The file of pages on a real disk.
#[derive(Debug)]
pub struct PagesFile {
    file: File,
    path: PathBuf,
    direct: bool,
}

impl PagesFile {
    /// Makes the file, with room for `reserve_bytes` set aside where the file system can.
    ///
    /// # Errors
    /// As `open(2)` and `fallocate(2)`: a disk that is too full says so here, before anything is parked.
    pub(crate) fn create(path: &Path, reserve_bytes: u64) -> Result<Self, StoreError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = Self::open_direct(path, flags)?;
        if reserve_bytes > 0 {
            // The file has its length at once: writes that make it longer would wait for each other (ext4, XFS).
            match rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, reserve_bytes) {
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(StoreError::io("reserve room in", path)(errno)),
            }
        }
        Ok(file)
    }

    /// Opens the file to read it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_direct(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW)
    }

    fn open_direct(path: &Path, flags: OFlags) -> Result<Self, StoreError> {
        let mode = Mode::RUSR | Mode::WUSR;
        let (file, direct) = match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
            Ok(file) => (file, true),
            // The file may have been made before O_DIRECT was refused.
            Err(rustix::io::Errno::INVAL) => (
                rustix::fs::open(path, flags - OFlags::EXCL, mode)
                    .map_err(StoreError::io("open", path))?,
                false,
            ),
            Err(errno) => return Err(StoreError::io("open", path)(errno)),
        };
        Ok(Self {
            file: File::from(file),
            path: path.to_owned(),
            direct,
        })
    }

    /// Bytes in the file.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        let metadata = self
            .file
            .metadata()
            .map_err(StoreError::io("stat", &self.path))?;
        Ok(metadata.len())
    }

    /// Gives back the room that was reserved and not used.
    pub(crate) fn trim(&self, length: u64) -> Result<(), StoreError> {
        self.file
            .set_len(length)
            .map_err(StoreError::io("trim", &self.path))
    }

    /// Reads the blocks around `offset..offset + len`; gives exactly those bytes, fewer at the end of file.
    pub(crate) fn read_around<'b>(
        &self,
        buffer: &'b mut Aligned,
        offset: u64,
        len: usize,
    ) -> Result<&'b [u8], StoreError> {
        let block = BLOCK as u64;
        let start = offset - offset % block;
        let ahead = usize::try_from(offset - start).unwrap_or(0);
        let window = ahead.saturating_add(len).next_multiple_of(BLOCK);
        let room = buffer.bytes_mut();
        let window = window.min(room.len());
        let mut read = 0;
        while read < window {
            let into = room.get_mut(read..window).unwrap_or_default();
            match self.file.read_at(into, start + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", &self.path)(error)),
            }
            if read % BLOCK != 0 {
                break; // the end of the file
            }
        }
        if !self.direct {
            self.forget(start, window as u64);
        }
        let end = read.min(ahead.saturating_add(len));
        Ok(buffer.bytes().get(ahead..end).unwrap_or_default())
    }

    /// Leaves nothing of the range in the page cache; a wish, not a must.
    fn forget(&self, offset: u64, len: u64) {
        let len = std::num::NonZeroU64::new(len);
        let _ = rustix::fs::fadvise(&self.file, offset, len, Advice::DontNeed);
    }
}

impl Disk for PagesFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.direct {
            self.forget(0, 0);
        }
        Ok(())
    }
}
