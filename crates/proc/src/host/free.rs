//! Free memory as the zones have it, and what a kernel counts as free before any zone has it.

use crate::meminfo::Meminfo;
use crate::zoneinfo::Zoneinfo;
use plimsoll_units::{Bytes, PageSize};

/// Free memory without the per-CPU lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// In the buddy lists of all zones.
    pub in_zones: Bytes,
    /// In `MemTotal` and `MemFree`, but no zone manages it yet: a kernel that initialises its memory lazily has
    /// such. Told by `MemFree` being nearer to the sum with it than to the sum without.
    pub uninitialised: Bytes,
}

impl Free {
    /// `None` where a file does not say.
    pub(super) fn of(meminfo: &Meminfo, zoneinfo: &Zoneinfo, page: PageSize) -> Option<Self> {
        let in_zones = zoneinfo.of_zones(|zone| zone.free)?.bytes(page);
        let managed = zoneinfo.of_zones(|zone| zone.managed)?.bytes(page);
        let unmanaged = meminfo.mem_total? - managed;
        let mem_free = meminfo.mem_free?;
        let is_free = distance(mem_free, in_zones + unmanaged) < distance(mem_free, in_zones);
        Some(Self {
            in_zones,
            uninitialised: if is_free { unmanaged } else { Bytes::ZERO },
        })
    }

    /// All of it.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        self.in_zones + self.uninitialised
    }
}

/// How far two figures are apart.
pub(super) fn distance(a: Bytes, b: Bytes) -> Bytes {
    (a - b).max(b - a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lazily_initialised_memory_is_free() {
        let page = PageSize::new(4096).unwrap();
        let zoneinfo = Zoneinfo::parse(b"Node 0, zone Normal\n pages free 2\n managed 10\n");
        let free = |meminfo: &[u8]| Free::of(&Meminfo::parse(meminfo), &zoneinfo, page).unwrap();
        assert_eq!(
            free(b"MemTotal: 80 kB\nMemFree: 52 kB\n").uninitialised,
            Bytes(40 << 10)
        );
        assert_eq!(
            free(b"MemTotal: 40 kB\nMemFree: 12 kB\n").bytes(),
            Bytes(8 << 10)
        );
        assert_eq!(
            free(b"MemTotal: 80 kB\nMemFree: 12 kB\n").uninitialised,
            Bytes::ZERO
        );
    }
}
