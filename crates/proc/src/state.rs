//! What explains an account and is not in it: the kernel's settings, its pressure, its free blocks, swap areas, mounts.
//!
//! Small files, each read once and none required: what a host lacks, or a captured tree or a recording does not hold, is
//! `None` or empty. `Documentation/admin-guide/sysctl/vm.rst` and `fs.rst` describe the settings.

use crate::meminfo::Meminfo;
use crate::mountinfo::{self, Mount};
use crate::page_counters::PageCounters;
use crate::pressure::Pressure;
use crate::sysvipc_shm::{self, Segment};
use crate::text::{number, printable, words};
use crate::zoneinfo::Zoneinfo;
use crate::{Root, buddyinfo, swaps, sysctl, vmstat};
use plimsoll_units::{Bytes, PageSize};

/// The state of a host beside its account.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The host's page size.
    pub page: PageSize,
    /// `/proc/meminfo`.
    pub meminfo: Meminfo,
    /// `/proc/zoneinfo`.
    pub zoneinfo: Option<Zoneinfo>,
    /// `/proc/buddyinfo`.
    pub free_blocks: Vec<FreeBlocks>,
    /// `/proc/vmstat`; event counts are among the unknown.
    pub vmstat: Option<PageCounters>,
    /// `/proc/pressure/memory`.
    pub pressure: Option<Pressure>,
    /// `/proc/swaps`; `None` where it could not be read, empty where there is no swap.
    pub swaps: Option<Vec<SwapArea>>,
    /// `/proc/sysvipc/shm`; `None` where it could not be read.
    pub segments: Option<Vec<Segment>>,
    /// `/proc/sys/fs/dentry-state`.
    pub dentries: Option<Dentries>,
    /// `/proc/self/mountinfo`; empty where it could not be read.
    pub mounts: Vec<Mount>,
    /// Settings.
    pub settings: Settings,
}

/// The free blocks of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeBlocks {
    /// The node's number.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub zone: String,
    /// Of 2⁰, 2¹, … pages.
    pub blocks: Vec<u64>,
}

/// A swap area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapArea {
    /// Its path, made printable.
    pub path: String,
    /// Its size.
    pub size: Bytes,
    /// How much of it is used.
    pub used: Bytes,
    /// Higher is used first.
    pub priority: i64,
}

impl SwapArea {
    /// Whether it is compressed RAM.
    #[must_use]
    pub fn is_zram(&self) -> bool {
        self.path.starts_with("/dev/zram")
    }
}

/// What the dentry cache says of itself (`struct dentry_stat_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dentries {
    /// All of them.
    pub all: u64,
    /// Those that nobody uses at the moment.
    pub unused: u64,
    /// Of the unused: names that were looked up and are not there (since Linux 5.0; a 0 before).
    pub negative: u64,
}

/// Settings; `None` for one that this kernel does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// `vm.overcommit_memory`
    pub overcommit_memory: Option<u64>,
    /// `vm.overcommit_ratio`, percent of RAM.
    pub overcommit_ratio: Option<u64>,
    /// `vm.overcommit_kbytes`; 0 where the ratio counts.
    pub overcommit_kbytes: Option<Bytes>,
    /// `vm.min_free_kbytes`
    pub min_free_kbytes: Option<Bytes>,
    /// `vm.admin_reserve_kbytes`: kept from those without `CAP_SYS_ADMIN`, under strict overcommit.
    pub admin_reserve_kbytes: Option<Bytes>,
    /// `vm.user_reserve_kbytes`: kept from any single process, under strict overcommit.
    pub user_reserve_kbytes: Option<Bytes>,
    /// `vm.swappiness`
    pub swappiness: Option<u64>,
}

impl State {
    /// Reads what there is.
    #[must_use]
    pub fn read(root: &Root, page: PageSize) -> Self {
        let read = |path| root.read(path).ok();
        Self {
            page,
            meminfo: Meminfo::parse(&read("proc/meminfo").unwrap_or_default()),
            zoneinfo: read("proc/zoneinfo").map(|text| Zoneinfo::parse(&text)),
            free_blocks: free_blocks(&read("proc/buddyinfo").unwrap_or_default()),
            vmstat: read("proc/vmstat").map(|text| vmstat::parse(&text)),
            pressure: read("proc/pressure/memory").and_then(|text| Pressure::parse(&text)),
            swaps: read("proc/swaps").map(|text| swap_areas(&text)),
            segments: read("proc/sysvipc/shm").map(|text| sysvipc_shm::parse(&text)),
            dentries: read("proc/sys/fs/dentry-state").and_then(|text| Dentries::parse(&text)),
            mounts: mountinfo::parse(&read("proc/self/mountinfo").unwrap_or_default()),
            settings: Settings::read(root),
        }
    }

    /// An event count of `/proc/vmstat`: `pswpin`, `oom_kill`, …
    #[must_use]
    pub fn event(&self, name: &str) -> Option<u64> {
        let counts = &self.vmstat.as_ref()?.unknown;
        let found = counts.iter().find(|(key, _)| **key == *name.as_bytes())?;
        Some(found.1)
    }
}

impl Dentries {
    /// `all unused age_limit want_pages negative dummy`
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = words(text.trim_ascii()).map(number);
        let (all, unused) = (numbers.next()??, numbers.next()??);
        Some(Self {
            all,
            unused,
            negative: numbers.nth(2)??,
        })
    }
}

impl Settings {
    fn read(root: &Root) -> Self {
        let kib = |name| sysctl::value(root, name).map(Bytes::from_kib);
        Self {
            overcommit_memory: sysctl::value(root, "vm.overcommit_memory"),
            overcommit_ratio: sysctl::value(root, "vm.overcommit_ratio"),
            overcommit_kbytes: kib("vm.overcommit_kbytes"),
            min_free_kbytes: kib("vm.min_free_kbytes"),
            admin_reserve_kbytes: kib("vm.admin_reserve_kbytes"),
            user_reserve_kbytes: kib("vm.user_reserve_kbytes"),
            swappiness: sysctl::value(root, "vm.swappiness"),
        }
    }
}

fn free_blocks(text: &[u8]) -> Vec<FreeBlocks> {
    let zones = buddyinfo::parse(text).map(|zone| FreeBlocks {
        node: zone.node,
        zone: printable(zone.name).into_owned(),
        blocks: zone.free_blocks,
    });
    zones.collect()
}

fn swap_areas(text: &[u8]) -> Vec<SwapArea> {
    let areas = swaps::parse(text).map(|area| SwapArea {
        path: printable(&mountinfo::unescape(area.path)).into_owned(),
        size: area.size,
        used: area.used,
        priority: area.priority,
    });
    areas.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_state() {
        let page = PageSize::new(4096).unwrap();
        let state = State::read(&Root::live(), page);
        assert!(state.meminfo.mem_total.is_some());
        assert!(!state.free_blocks.is_empty() && !state.mounts.is_empty());
        assert!(state.event("pgfault").is_some_and(|count| count > 0));
        assert_eq!(state.event("no_such_event"), None);
        assert!(state.settings.min_free_kbytes > Some(Bytes::ZERO));
    }

    #[test]
    fn dentries_are_counted_by_their_places() {
        let dentries = Dentries::parse(b"554993\t536871\t45\t0\t200150\t0\n").unwrap();
        assert_eq!((dentries.all, dentries.negative), (554_993, 200_150));
        assert_eq!(Dentries::parse(b"1 2 3"), None);
        assert_eq!(Dentries::parse(b"1 2 3 4 -5 6"), None);
    }

    #[test]
    fn a_tree_without_files_has_an_empty_state() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::captured(dir.path()).unwrap();
        let state = State::read(&root, PageSize::new(4096).unwrap());
        assert_eq!((state.swaps, state.dentries), (None, None));
        assert_eq!(state.settings, Settings::default());
    }
}
