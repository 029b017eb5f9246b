//! Memory that no counter names, found by looking: what pipes, sockets and packet rings hold, and which parts
//! of shared memory belong to whom.
//!
//! The kernel counts none of the first three in `/proc/meminfo` (`pipe_write`, `sock_alloc_send_pskb` and
//! `alloc_pg_vec` take raw pages), so they are asked one by one: pipes through duplicates of their descriptors, sockets
//! through `sock_diag(7)`. The rest is in `Shmem` or `Cached` already; here it gets names. How sizes
//! are worked out, and what can't be seen, is in `docs/design/003-what-sockets-and-pipes-hold.md`.
//!
//! [`look`] walks the live host, [`Search`] is shown it by another's walk. None of it is a file in a tree, so a capture keeps the answer, as JSON, in
//! [`CAPTURED`].

mod descriptors;
mod live;
mod memory_files;
mod pipes;
mod secretmem;
pub mod sockets;
mod tmpfs;

use crate::sysvipc_shm::Segment;
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};

pub use live::{LookError, Search, look};
#[cfg(fuzzing)]
pub use sockets::told_of;

/// Where a captured tree keeps what was found.
pub const CAPTURED: &str = "plimsoll/found.json";

/// What was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// All pipes and what they hold.
    pub pipes: Pipes,
    /// Socket buffers, one entry for each family that has sockets.
    pub sockets: Vec<SocketBuffers>,
    /// Rings of packet sockets, one entry for each ring.
    pub packet_rings: Vec<PacketRing>,
    /// Memfds, and files deleted from a tmpfs, that a process keeps alive; biggest first. Part of `Shmem`.
    pub memory_files: Vec<MemoryFile>,
    /// SysV shared memory (`/proc/sysvipc/shm`), biggest first. Part of `Shmem`.
    pub segments: Vec<Segment>,
    /// tmpfs mounts, biggest first. Part of `Shmem`.
    pub tmpfs: Vec<Tmpfs>,
    /// `memfd_secret(2)` areas, biggest first. Part of `Cached`, but not of `Shmem`.
    pub secretmem: Vec<Secretmem>,
    /// What could not be seen, and what would show it.
    pub unseen: Vec<Unseen>,
}

/// All pipes of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipes {
    /// How many, each counted once however many descriptors lead to it.
    pub count: u64,
    /// Bytes waiting to be read (`FIONREAD`).
    pub queued_bytes: Bytes,
    /// The pages they fill: each pipe's bytes rounded up to whole pages. A pipe written in small packets
    /// (`O_DIRECT`) holds more, one fed by `splice(2)` holds pages that have another owner.
    pub page_bytes: Bytes,
}

/// The buffers of all sockets of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketBuffers {
    /// Which family.
    pub family: SocketFamily,
    /// How many sockets.
    pub count: u64,
    /// Sum of `skb->truesize` charged to them, in both directions: payload, heads and `struct sk_buff`
    /// together, most of which slab counts already.
    pub truesize_bytes: Bytes,
    /// Payload waiting in receive queues, as far as the kernel tells: UNIX (of datagrams, not all) and TCP.
    pub queued_bytes: Bytes,
}

/// A family of sockets that hold memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFamily {
    /// `AF_UNIX` streams.
    UnixStream,
    /// `AF_UNIX` datagrams and sequenced packets: their payload is laid out alike.
    UnixDatagram,
    /// TCP over IPv4 and IPv6.
    Tcp,
    /// UDP and UDP-Lite over IPv4 and IPv6.
    Udp,
    /// `AF_NETLINK`.
    Netlink,
    /// `AF_PACKET`, rings aside.
    Packet,
}

/// One ring of a packet socket (`packet_mmap(7)`, `Documentation/networking/packet_mmap.rst`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRing {
    /// The socket's inode.
    pub inode: u64,
    /// Size of one block.
    pub block_bytes: Bytes,
    /// How many blocks.
    pub blocks: u64,
}

impl PacketRing {
    /// All blocks.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes(self.block_bytes.0.saturating_mul(self.blocks))
    }
}

/// A file in memory that has no name in any directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFile {
    /// A process that has it open.
    pub pid: u32,
    /// That process's name, made printable.
    pub command: String,
    /// What the file was called, made printable.
    pub name: String,
    /// Memory it takes, what is swapped out included.
    pub bytes: Bytes,
    /// Memfd or deleted file.
    pub kind: MemoryFileKind,
    /// `st_dev` of its file system, as major and minor number: that of a [`Tmpfs`] whose `used_bytes` hold it.
    pub device: (u32, u32),
    /// How many descriptors lead to it.
    pub descriptors: u64,
}

/// What a file in memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryFileKind {
    /// From `memfd_create(2)`.
    Memfd,
    /// Deleted from a tmpfs.
    Deleted,
}

/// A mounted tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where, made printable.
    pub mount_point: String,
    /// `st_dev` of its files, as major and minor number.
    pub device: (u32, u32),
    /// What its files take, deleted ones and what is swapped out included (`statfs(2)`).
    pub used_bytes: Bytes,
}

/// One `memfd_secret(2)` area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secretmem {
    /// A process that maps it.
    pub pid: u32,
    /// That process's name, made printable.
    pub command: String,
    /// Its resident pages.
    pub bytes: Bytes,
}

/// Something that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why, and what would show it.
    pub why: String,
}
