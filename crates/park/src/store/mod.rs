//! The store: the memory of one parked process tree, in one directory.
//!
//! ```text
//! ROOT/PID-STARTTIME-ID/    0700, its owner's
//!   pages      who was parked, then every page once, in frames      written around the page cache
//!   index      where each page is, by process and address           last: its presence says "complete"
//!   journal    what has happened so far, a record per step          only as strong as the page cache
//! ```
//!
//! `docs/store-format.md` gives every byte. The rules that the rest of the crate leans on:
//!
//! - A frame is durable (`fdatasync(2)`) and journalled before [`Writer::pack`] returns, so its caller may
//!   drop those pages from the process. Host crashes end the process as well; so the journal has to
//!   survive only the death of its writer, and is never synced.
//! - `pages` describes itself: without an index (its writer was killed) it is walked from the front, and
//!   has to reach at least as far as the journal says was durable.
//! - Whatever is read back is checked: a frame's checksum covers its header, which names the store, the
//!   process and the address. A damaged store yields an error, never another page and never zeros.

mod buffer;
mod disk;
mod error;
mod format;
mod index;
mod journal;
mod pack;
mod place;
mod read;
mod write;

pub use disk::{Disk, PagesFile};
pub use error::StoreError;
pub use format::{Codec, FRAME_BYTES, Identity, Parked, SLICE_BYTES, Slot};
pub use index::Located;
pub use journal::{Journal, Step};

pub use place::{Listed, Place, Planned, Room};
pub use read::{FrameReader, Pages, Store};
pub use write::{Origin, PageSource, Sealer, Slice, Stored, Writer, Written};
