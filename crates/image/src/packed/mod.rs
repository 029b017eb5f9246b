//! Pages packed: zero pages dropped, equal ones stored once, the rest in LZ4 or Zstandard, all under checksums.
//!
//! ```text
//! pages.packed   what a restore needs at once         CHECKSUMS   a digest of every file of the set
//! pages.later    the rest, which may live elsewhere
//! ```
//!
//! Both page files have one form: a header, frames of up to [`FRAME_PAGES`] pages, an index at the end. The index says of the pages
//! that a `pages-ID.img` would hold, by their place there, which are zero, which lie in this file, and which in that of a
//! parent set. All other images of the set stay as CRIU has them, byte for byte. Every byte is in `docs/image-format.md`.

mod codec;
mod format;
mod read;
mod write;

pub use codec::Codec;
pub use format::{FRAME_PAGES, Part, Run, Source};
pub use read::PackedReader;
pub use write::PackedWriter;

use std::io;

/// What is wrong with a file of packed pages, or why it could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// It could not be read or written.
    #[error("could not {operation}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is no such file, or not a whole one.
    #[error("no whole file of packed pages: {what}")]
    Broken {
        /// What does not fit.
        what: &'static str,
    },
    /// A version that this program does not read.
    #[error("version {version} of the packed format is not known")]
    Version {
        /// What the file says.
        version: u32,
    },
    /// The frame with these pages is damaged.
    #[error("the frame at byte {offset} is damaged: {what}")]
    Frame {
        /// Where it lies in the file.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
}

impl PackedError {
    fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}
