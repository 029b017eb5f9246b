//! What can be wrong with an image.

use crate::kind::Kind;
use std::io;

/// Why a file is not the image that it should be, or could not be written.
///
/// Says nothing of the path: the caller knows which file it opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read or written.
    #[error("could not {operation}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is shorter than what it announces.
    #[error("the file ends inside {what}, at byte {offset}")]
    Cut {
        /// What was cut.
        what: &'static str,
        /// Where the part that was cut began, in bytes from the start of the file.
        offset: u64,
    },
    /// The first words are not those of this kind of image.
    #[error("{found:#010x} at byte {offset} is not the mark of {expected}")]
    Magic {
        /// The kind that was asked for, by its name in CRIU.
        expected: &'static str,
        /// What stands there.
        found: u32,
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// The first words are those of no kind of image.
    #[error("{found:#010x} is the mark of no image")]
    UnknownMagic {
        /// What stands there.
        found: u32,
    },
    /// A message says that it is larger than any sensible one.
    #[error("a message of {bytes} bytes at byte {offset}: at most {limit} are read")]
    TooLarge {
        /// What it says.
        bytes: u64,
        /// What is read.
        limit: u64,
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// A message is no protobuf message of its type.
    #[error("no {message} at byte {offset}")]
    Decode {
        /// Its type, by CRIU's name.
        message: &'static str,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What the decoder says.
        #[source]
        source: prost::DecodeError,
    },
    /// A message lacks a field that it must have.
    #[error("a {message} without its {field}")]
    Missing {
        /// Its type, by CRIU's name.
        message: String,
        /// The field, by CRIU's name.
        field: String,
    },
    /// Entries of another type were asked of this kind of file, or given to it.
    #[error("{kind} holds no {message} here")]
    WrongMessage {
        /// The kind of file.
        kind: Kind,
        /// The type that was asked for or given.
        message: &'static str,
    },
    /// A message announces another number of raw bytes than it is followed by.
    #[error("a {message} that announces {announced} bytes is given {given}")]
    PayloadLength {
        /// Its type, by CRIU's name.
        message: &'static str,
        /// What the message says.
        announced: u64,
        /// What is there.
        given: u64,
    },
}

impl ImageError {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}
