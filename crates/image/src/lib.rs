//! Checkpoint images: CRIU's files, read and written. Pure: no privileges, no `/proc`.
//!
//! ```text
//! kind     the table of image files: names, magic numbers, types of entries
//! frame    a file as a row of messages with raw bytes behind them
//! proto    the messages as types                   entry    a typed message and what its type doesn't know
//! dynamic  the messages by names of fields         pagemap  which pages are stored, and where
//! show     an image as crit prints it               pages    a page, wherever it lies: raw, packed, in a parent
//! verify   is a set complete?                      packed   our own form of pages; manifest: digests of every file
//! convert  a set in another form; diff: two sets   lazy     which pages a restore needs at once
//! ```
//!
//! ```
//! use plimsoll_image::{Entry, Kind, proto::PstreeEntry, read_all, write_all};
//!
//! let tree = [Entry::from(PstreeEntry { pid: 77, ppid: 0, pgid: 77, sid: 77, threads: vec![77, 78] })];
//! let bytes = write_all(Kind::Pstree, &tree)?;
//! let back = read_all::<PstreeEntry>(Kind::Pstree, bytes.as_slice())?;
//! assert_eq!(back[0].threads, [77, 78]);
//! # Ok::<(), plimsoll_image::ImageError>(())
//! ```
//!
//! The format is CRIU's (<https://criu.org/Images>); why it is read as it is: `docs/design/006-images.md`.

pub mod convert;
pub mod diff;
pub mod directory;
pub mod dynamic;
mod entry;
mod error;
mod frame;
mod kind;
pub mod lazy;
pub mod manifest;
pub mod packed;
pub mod pagemap;
pub mod pages;
pub mod proto;
pub mod show;
pub mod verify;

pub use entry::{Entry, read_all, read_one, write_all};
pub use error::ImageError;
pub use frame::{Frame, MESSAGE_LIMIT_BYTES, Payload, Reader, Writer};
pub use kind::{COMMON_MAGIC, Kind, SERVICE_MAGIC, VERSION_1_1};
