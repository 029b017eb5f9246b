//! Shared memory that is charged by its size when it is made, used or not: SysV segments and shared
//! anonymous memory. What of it exists is in `Shmem` already; here is what is promised beyond that.

use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::mappings::Object;
use plimsoll_proc::process::maps::Mapping;
use plimsoll_proc::process::smaps::Smap;
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_proc::sysvipc_shm::Segment;
use plimsoll_units::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The objects that mappings have shown.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Shared anonymous, by device and inode.
    anonymous: BTreeMap<(u32, u32, u64), Extent>,
    /// Those of them that were made without reserve.
    uncharged: BTreeSet<(u32, u32, u64)>,
    /// SysV segments in huge pages, which the account leaves out: by shmid.
    hugetlb_segments: BTreeSet<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Extent {
    size: Bytes,
    allocated: Bytes,
    /// Told by the object itself, not by what its mappings show.
    told: bool,
}

impl Objects {
    /// Takes a mapping. Without the object's own word its size is as far as anyone maps it, and its
    /// pages as many as one process has mapped: both can be too small.
    pub(super) fn mapping(&mut self, smap: &Smap<'_>) {
        let mapping = &smap.mapping;
        let has = |flag| smap.flags.is_some_and(|flags| flags.has(flag));
        match mapping.name() {
            // Made with MAP_NORESERVE it is charged as it is touched, which `Shmem` has already.
            MapName::SharedAnonymous if has(VmFlag::NORESERVE) => {
                self.uncharged.insert(key(mapping));
            }
            MapName::SharedAnonymous if mapping.is_shared() => {
                let extent = self.anonymous.entry(key(mapping)).or_default();
                if !extent.told {
                    let end = Bytes(mapping.offset) + mapping.size();
                    extent.size = extent.size.max(end);
                    extent.allocated = extent.allocated.max(smap.usage.rss + smap.usage.swap);
                }
            }
            MapName::SysV { .. } if has(VmFlag::HUGETLB) => {
                self.hugetlb_segments.insert(mapping.inode);
            }
            _ => {}
        }
    }

    /// Takes an object's own word.
    pub(super) fn object(&mut self, object: &Object) {
        let (major, minor) = object.device;
        let extent = Extent {
            size: object.size_bytes,
            allocated: object.allocated_bytes,
            told: true,
        };
        self.anonymous.insert((major, minor, object.inode), extent);
    }

    /// What all these objects are charged beyond the pages they have.
    pub(super) fn promised(&self, segments: &[Segment]) -> Bytes {
        let charged = |(key, _): &(&_, &Extent)| !self.uncharged.contains(key);
        let anonymous = self.anonymous.iter().filter(charged);
        let anonymous = anonymous.map(|(_, extent)| extent.size - extent.allocated);
        let segments = segments
            .iter()
            .filter(|segment| !self.hugetlb_segments.contains(&segment.shmid))
            .map(|segment| {
                let exists =
                    segment.rss_bytes.unwrap_or_default() + segment.swap_bytes.unwrap_or_default();
                segment.size_bytes - exists
            });
        anonymous.chain(segments).sum()
    }
}

fn key(mapping: &Mapping<'_>) -> (u32, u32, u64) {
    (mapping.device.major, mapping.device.minor, mapping.inode)
}
