//! Where the pages of absent memory are read: our own store of a parked tree, or the images that a tree was restored from.
//!
//! The pager asks for them by process ([`Slot`]) and by the address that they had, and knows no more: runs of pages, read a frame
//! at a time, each thread with a [`Reader`] of its own. Whatever can't be read right is an error, never zeros.

mod images;

pub use images::{Images, ImagesError};

use crate::store::{FrameReader, Located, Pages, Slot, Store, StoreError};

/// Pages of the processes of one tree.
#[derive(Debug)]
pub enum Source {
    /// A store of ours.
    Store(Box<Store>),
    /// A set of images.
    Images(Images),
}

/// A page can't be had where it should be.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The images.
    #[error(transparent)]
    Images(#[from] ImagesError),
}

/// Pages that lie side by side and are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Whose.
    pub slot: Slot,
    /// The first page.
    pub address: u64,
    /// The address after the last.
    pub end: u64,
    /// Its frame, in a store.
    frame: Option<Located>,
}

/// What one thread reads with.
pub enum Reader<'s> {
    /// Frames of a store.
    Store(&'s Store, Box<FrameReader>),
    /// Pages of images, with room for a frame of them.
    Images(&'s Images, Vec<u8>),
}

impl Source {
    /// The run that holds the page at `address`, or else the next one of that process.
    ///
    /// # Errors
    /// When what tells it can't be read or is damaged.
    pub fn at_or_after(&self, slot: Slot, address: u64) -> Result<Option<Run>, SourceError> {
        match self {
            Self::Store(store) => Ok(store
                .at_or_after(slot, address)?
                .map(|found| in_store(store, found))),
            Self::Images(images) => Ok(in_images(images, slot, address)),
        }
    }

    /// As [`Source::at_or_after`], passing over runs that are known to be zeros.
    ///
    /// # Errors
    /// As [`Source::at_or_after`].
    pub fn next_pages(&self, slot: Slot, address: u64) -> Result<Option<Run>, SourceError> {
        match self {
            Self::Store(store) => Ok(store
                .next_pages(slot, address)?
                .map(|found| in_store(store, found))),
            Self::Images(images) => Ok(in_images(images, slot, address)),
        }
    }

    /// Has the kernel read ahead what tells where pages are.
    pub fn read_index_ahead(&self) {
        if let Self::Store(store) = self {
            store.read_index_ahead();
        }
    }

    /// Buffers for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        match self {
            Self::Store(store) => Reader::Store(store, Box::default()),
            Self::Images(images) => Reader::Images(images, Vec::new()),
        }
    }
}

fn in_store(store: &Store, found: Located) -> Run {
    Run {
        slot: found.slot,
        address: found.address,
        end: found.end(store.identity().page_size),
        frame: Some(found),
    }
}

fn in_images(images: &Images, slot: Slot, address: u64) -> Option<Run> {
    let (address, end) = images.at_or_after(slot, address)?;
    Some(Run {
        slot,
        address,
        end,
        frame: None,
    })
}

impl Reader<'_> {
    /// The pages of `run` from `address` on, as far as one frame goes. `run` is what the source gave, and holds `address`.
    ///
    /// # Errors
    /// Whatever does not check: never a wrong page.
    pub fn read(&mut self, run: &Run, address: u64) -> Result<Pages<'_>, SourceError> {
        match self {
            Self::Store(store, reader) => {
                let located = match run.frame {
                    Some(located) => located,
                    None => {
                        return Err(StoreError::Unsupported {
                            what: "a run of images",
                        }
                        .into());
                    }
                };
                Ok(reader.read(store, &located, address)?)
            }
            Self::Images(images, buffer) => {
                images.read(run.slot, address, run.end, buffer)?;
                Ok(Pages::Bytes(buffer))
            }
        }
    }

    /// Reads the frames from that of `first` to that of `last` in one go, as far as there is room, so that those who
    /// ask for them next don't wait for the disk each.
    pub fn read_ahead(&mut self, first: &Run, last: &Run) {
        match self {
            Self::Store(store, reader) => {
                if let (Some(first), Some(last)) = (first.frame, last.frame) {
                    let _ = reader.read_ahead(store, &first, &last); // who asks for a frame is told
                }
            }
            Self::Images(images, _) => images.read_ahead(first.slot, first.address, last.end),
        }
    }
}
