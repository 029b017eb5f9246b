//! What can go wrong when a group is read, other than its being gone.

use plimsoll_proc::ReadError;
use std::path::PathBuf;

/// A cgroup file or tree could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file does not have the shape that the kernel documents.
    #[error("unexpected content in {}", path.display())]
    Malformed {
        /// Below the root that is read.
        path: PathBuf,
    },
    /// The tree was changed in a way that cgroup file systems don't allow, so the rest of it was left out.
    #[error("{} was moved while it was read", path.display())]
    Moved {
        /// Below the root that is read.
        path: PathBuf,
    },
    /// Something else is mounted over the group.
    #[error("another file system is mounted on {}", path.display())]
    Covered {
        /// Below the root that is read.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the thing is gone, or was never there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_gone())
    }

    /// Whether more privilege would have helped.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_denied())
    }
}
