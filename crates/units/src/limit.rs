//! A limit that may be absent: the `max` of cgroup v2, the near-infinite numbers of v1.

use crate::Bytes;
use serde::{Serialize, Serializer};

/// An upper bound in bytes, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing is limited (`max` in the kernel's words).
    Max,
    /// At most this much.
    Bytes(Bytes),
}

impl Limit {
    /// The bound, where there is one.
    #[must_use]
    pub const fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Max => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

impl Serialize for Limit {
    /// `null` for no limit, else the number of bytes.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.bytes().serialize(to)
    }
}
