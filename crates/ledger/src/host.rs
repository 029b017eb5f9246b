//! The host's account: who owns every page of RAM.
//!
//! The kernel's counters overlap and leave gaps. Here they are taken apart into owners that do not overlap
//! (`owners`, one row each), and what is in no counter at all, found by looking at pipes, sockets and rings,
//! comes in as [`Discovered`]. What then is missing to `MemTotal` is `unattributed`, and is always shown.

mod account;
mod counters;
mod figures;
mod owners;
mod slab;
#[cfg(test)]
mod tests;
mod unseen;

use crate::look::{Detail, Exactness, Host, Unseen};
use plimsoll_units::Bytes;

pub use account::account;
pub use owners::{OWNERS, OwnerRow, row_of, words_of};
pub use slab::slab_caches;

/// What was found by looking where no counter counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Discovered {
    /// Raw pages that are in no counter: pipe buffers, socket buffers, packet rings.
    pub outside: Vec<Outside>,
    /// Parts of the shared memory that have a name: tmpfs mounts, segments that nobody is attached to, memfds.
    pub shmem: Vec<Detail>,
    /// Pages of `memfd_secret(2)`: the kernel counts them as page cache.
    pub secretmem: Option<Secretmem>,
}

/// Pages in no counter that have one kind of owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Outside {
    /// Stable id, with a row in the table of owners: `pipe_buffers`, `socket_buffers`, `packet_rings`.
    pub id: &'static str,
    /// How much.
    pub bytes: Bytes,
    /// How well that is known.
    pub exactness: Exactness,
    /// Who holds it.
    pub detail: Vec<Detail>,
}

/// Memory that even the kernel does not map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Secretmem {
    /// How much.
    pub bytes: Bytes,
    /// Who holds it.
    pub detail: Vec<Detail>,
}

/// The account, and what could not be seen for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accounted {
    /// Owners and what is left over.
    pub host: Host,
    /// What could not be read, and what would show it.
    pub unseen: Vec<Unseen>,
}
