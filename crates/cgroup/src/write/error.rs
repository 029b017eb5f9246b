//! What can go wrong when a group is changed.

use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Something could not be done to a group or to one of its files.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct ControlError {
    operation: String,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ControlError {
    pub(crate) fn new(
        operation: impl Into<String>,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            operation: operation.into(),
            path: path.into(),
            source: source.into(),
        }
    }

    /// The kernel's reason.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }

    /// Whether the group is gone, or the kernel has no such file.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV))
    }

    /// Whether more privilege, or a subtree that was delegated to us, would have helped.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
        )
    }
}
