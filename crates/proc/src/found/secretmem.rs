//! `memfd_secret(2)` areas, through the mappings of processes that have locked memory.
//!
//! The kernel counts their pages in `Cached`, `Mapped` and `Unevictable`, not in `Shmem`, and their mappings in
//! `VmLck`, whoever asked for no lock at all. A mapping is one of them by its name and by the device number
//! that a descriptor of ours gets; a file that is merely called `/secretmem` has another. An area that several processes map
//! counts once; pages of an area that nobody maps any more are not seen.

use super::Secretmem;
use crate::process::map_name::MapName;
use crate::process::maps::Device;
use crate::process::smaps;
use crate::process::walk::Process;
use crate::text::printable;
use plimsoll_units::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx};
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;

/// Gathers areas as the processes that map them come by.
#[derive(Debug)]
pub(super) struct SecretmemCounter {
    /// `None` where the kernel has none, or they are switched off.
    device: Option<Device>,
    by_inode: HashMap<u64, Secretmem>,
    text: Vec<u8>,
}

impl SecretmemCounter {
    pub(super) fn new() -> Self {
        Self {
            device: device_of_areas(),
            by_inode: HashMap::new(),
            text: Vec::new(),
        }
    }

    /// Looks at the mappings of a process, if it can have such an area at all.
    pub(super) fn visit(&mut self, process: &Process<'_>) {
        let Some(device) = self.device else { return };
        let locked = process.status.vm.map_or(Bytes::ZERO, |vm| vm.locked);
        if locked == Bytes::ZERO || !self.maps_some(process) {
            return;
        }
        for (inode, bytes) in self.resident(process, device) {
            let seen = self.by_inode.get(&inode).map(|area| area.bytes);
            if bytes > seen.unwrap_or_default() {
                let area = Secretmem {
                    pid: process.status.pid,
                    command: printable(&process.status.name).into_owned(),
                    bytes,
                };
                self.by_inode.insert(inode, area);
            }
        }
    }

    /// Asks `maps` first: it costs little however much is resident.
    fn maps_some(&mut self, process: &Process<'_>) -> bool {
        self.text.clear();
        let read = open(process, c"maps").is_some_and(|mut maps| {
            maps.read_to_end(&mut self.text).is_ok() // a process that ends meanwhile has none
        });
        read && memchr::memmem::find(&self.text, b"/secretmem").is_some()
    }

    /// What a process has resident of each area, by inode.
    fn resident(&mut self, process: &Process<'_>, device: Device) -> HashMap<u64, Bytes> {
        let mut by_inode = HashMap::new();
        if let Some(file) = open(process, c"smaps") {
            // A process that ends meanwhile counts as far as it was read.
            let _ = smaps::stream(file, &mut self.text, |smap| {
                let mapping = &smap.mapping;
                if mapping.device == device && mapping.name() == MapName::SecretMem {
                    *by_inode.entry(mapping.inode).or_default() += smap.usage.rss;
                }
            });
        }
        by_inode
    }

    /// All areas that some process maps, biggest first.
    pub(super) fn finish(self) -> Vec<Secretmem> {
        let mut areas: Vec<_> = self.by_inode.into_values().collect();
        areas.sort_by_key(|area| std::cmp::Reverse(area.bytes));
        areas
    }
}

/// Past the root's recorder: what is read for the answer is not part of it.
fn open(process: &Process<'_>, name: &CStr) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(&process.dir, name, flags, Mode::empty()).ok()?;
    Some(file.into())
}

fn device_of_areas() -> Option<Device> {
    let area = plimsoll_sys::secretmem::memfd_secret().ok()?;
    let stat = statx(&area, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    Some(Device {
        major: stat.stx_dev_major,
        minor: stat.stx_dev_minor,
    })
}
