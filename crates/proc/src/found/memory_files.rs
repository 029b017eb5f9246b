//! Memfds and deleted tmpfs files: memory that lives as long as a process keeps it open, and has no name.
//!
//! A link that ends in ` (deleted)` says nothing about the file system, so the device number decides: that of the
//! kernel's own tmpfs (memfds, `shmem_file_setup`; learned from a memfd of ours) or of a tmpfs mount.
//! `AT_STATX_DONT_SYNC` keeps the question away from network and FUSE servers that may not answer. A file that is only
//! mapped, its descriptors closed, is not seen.

use super::descriptors::Descriptor;
use super::{MemoryFile, MemoryFileKind, Tmpfs};
use crate::text::printable;
use plimsoll_units::Bytes;
use rustix::fs::{AtFlags, MemfdFlags, StatxFlags, statx};
use std::collections::{HashMap, HashSet};

/// `stx_blocks` counts these, whatever the file system's block size (`statx(2)`).
const BLOCK_BYTES: u64 = 512;

/// Gathers files in memory as their descriptors come by.
#[derive(Debug)]
pub(super) struct MemoryFileCounter {
    devices: HashSet<(u32, u32)>,
    files: HashMap<((u32, u32), u64), MemoryFile>,
}

impl MemoryFileCounter {
    /// Knows the file systems that live in memory: the kernel's own and the mounted ones.
    pub(super) fn new(mounted: &[Tmpfs]) -> Self {
        let devices = mounted.iter().map(|tmpfs| tmpfs.device);
        Self {
            devices: devices.chain(device_of_memfds()).collect(),
            files: HashMap::new(),
        }
    }

    /// A descriptor that leads to a memfd or a deleted file.
    pub(super) fn visit(&mut self, descriptor: Descriptor<'_>, kind: MemoryFileKind, name: &[u8]) {
        let asked = StatxFlags::BLOCKS | StatxFlags::INO;
        let Descriptor { fds, number, .. } = descriptor;
        let Ok(stat) = statx(fds, number, AtFlags::STATX_DONT_SYNC, asked) else {
            return; // closed meanwhile
        };
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        if !self.devices.contains(&device) {
            return;
        }
        let file = (self.files.entry((device, stat.stx_ino))).or_insert_with(|| MemoryFile {
            pid: descriptor.process.status.pid,
            command: printable(&descriptor.process.status.name).into_owned(),
            name: printable(name).into_owned(),
            bytes: Bytes(stat.stx_blocks.saturating_mul(BLOCK_BYTES)),
            kind,
            device,
            descriptors: 0,
        });
        file.descriptors += 1;
    }

    /// The files that hold memory, biggest first.
    pub(super) fn finish(self) -> Vec<MemoryFile> {
        let mut files: Vec<_> = (self.files.into_values())
            .filter(|file| file.bytes > Bytes::ZERO)
            .collect();
        files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.pid.cmp(&b.pid)));
        files
    }
}

/// The device number of the kernel's own tmpfs.
fn device_of_memfds() -> Option<(u32, u32)> {
    let memfd = rustix::fs::memfd_create(c"plimsoll", MemfdFlags::CLOEXEC).ok()?;
    let stat = statx(&memfd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    Some((stat.stx_dev_major, stat.stx_dev_minor))
}
