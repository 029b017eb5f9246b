//! `memfd_secret(2)` areas, through the mappings of processes that have locked memory.
//!
//! The kernel counts their pages in `Cached`, `Mapped` and `Unevictable`, not in `Shmem`, and their mappings in
//! `VmLck`, whoever asked for no lock at all. A mapping is one of them by its name and by the device number
//! that a descriptor of ours gets; a file that is merely called `/secretmem` has another. An area that several processes map
//! counts once; pages of an area that nobody maps any more are not seen.

use super::Secretmem;
use super::memory_files::command;
use crate::Root;
use crate::process::map_name::MapName;
use crate::process::maps::Device;
use crate::process::smaps;
use crate::text::{lines, number, words};
use plimsoll_units::Bytes;
use rustix::fs::{AtFlags, StatxFlags, statx};
use std::collections::HashMap;
use std::os::fd::BorrowedFd;

/// All areas that some process maps, biggest first.
pub(super) fn areas(root: &Root, proc: BorrowedFd<'_>, pids: &[u32]) -> Vec<Secretmem> {
    let Some(device) = device_of_areas() else {
        return Vec::new(); // the kernel has none, or it is switched off
    };
    let mut text = Vec::new();
    if !has_amount(root, "proc/meminfo", b"Unevictable:", &mut text) {
        return Vec::new();
    }
    let mut by_inode: HashMap<u64, Secretmem> = HashMap::new();
    for &pid in pids {
        if !has_amount(root, &format!("proc/{pid}/status"), b"VmLck:", &mut text) {
            continue;
        }
        for (inode, bytes) in mapped_by(root, pid, device, &mut text) {
            let seen = by_inode.get(&inode).map_or(Bytes::ZERO, |area| area.bytes);
            if bytes > seen {
                let command = command(proc, pid);
                by_inode.insert(
                    inode,
                    Secretmem {
                        pid,
                        command,
                        bytes,
                    },
                );
            }
        }
    }
    let mut areas: Vec<_> = by_inode.into_values().collect();
    areas.sort_by_key(|area| std::cmp::Reverse(area.bytes));
    areas
}

/// What a process has resident of each area, by inode.
fn mapped_by(root: &Root, pid: u32, device: Device, block: &mut Vec<u8>) -> HashMap<u64, Bytes> {
    let mut by_inode = HashMap::new();
    // `maps` first: it costs little however much is resident.
    let maps = format!("proc/{pid}/maps");
    let maps = root
        .read_into(maps, block)
        .map(|()| memchr::memmem::find(block, b"/secretmem"));
    if !matches!(maps, Ok(Some(_))) {
        return by_inode;
    }
    if let Ok(file) = root.open(format!("proc/{pid}/smaps")) {
        // A process that ends meanwhile counts as far as it was read.
        let _ = smaps::stream(file, block, |smap| {
            let mapping = &smap.mapping;
            if mapping.device == device && mapping.name() == MapName::SecretMem {
                *by_inode.entry(mapping.inode).or_default() += smap.usage.rss;
            }
        });
    }
    by_inode
}

/// Whether the line that starts with `key` tells of more than 0 kB.
fn has_amount(root: &Root, path: &str, key: &[u8], text: &mut Vec<u8>) -> bool {
    if root.read_into(path, text).is_err() {
        return false;
    }
    let line = lines(text).find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| number(words(rest).next()?))
        .is_some_and(|kib| kib > 0)
}

fn device_of_areas() -> Option<Device> {
    let area = plimsoll_sys::secretmem::memfd_secret().ok()?;
    let stat = statx(&area, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    Some(Device {
        major: stat.stx_dev_major,
        minor: stat.stx_dev_minor,
    })
}
