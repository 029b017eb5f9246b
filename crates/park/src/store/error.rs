//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// A store could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The pages of the process could not be read for packing.
    #[error("cannot read {bytes} bytes at {address:#x} of process {slot} of the tree")]
    Source {
        /// The process, by its place in the store.
        slot: u32,
        /// Where the slice starts.
        address: u64,
        /// How long it is.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A format that this program doesn't know.
    #[error("{} has format version {found}; this program reads version {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The index is missing: the writer did not finish.
    #[error("{} has no index: its writer did not finish", path.display())]
    Unfinished {
        /// The store.
        path: PathBuf,
    },
    /// No directory has room.
    #[error(
        "no store directory has room for {needed_bytes} bytes{}",
        listed(rooms)
    )]
    NoRoom {
        /// What the pages could take at worst.
        needed_bytes: u64,
        /// Each directory with what it has.
        rooms: Vec<(PathBuf, u64)>,
    },
    /// The directory lives in memory itself.
    #[error("{} is on {filesystem}, which keeps its files in memory", path.display())]
    InMemory {
        /// The directory.
        path: PathBuf,
        /// Its file system.
        filesystem: &'static str,
    },
    /// The directory could be read or changed by others.
    #[error("{} {what}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More processes, or a page size, than the format holds.
    #[error("the store format does not hold {what}")]
    Unsupported {
        /// What does not fit.
        what: &'static str,
    },
}

fn listed(rooms: &[(PathBuf, u64)]) -> String {
    let rooms: Vec<String> = rooms
        .iter()
        .map(|(path, free)| format!("{} has {free} free", path.display()))
        .collect();
    if rooms.is_empty() {
        String::new()
    } else {
        format!(" ({})", rooms.join(", "))
    }
}

impl StoreError {
    /// For `map_err` of a system call on `path`.
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source: source.into(),
        }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            what,
        }
    }
}
