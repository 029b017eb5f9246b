//! The second tier: what hardly changes, or is slow to read.

use crate::boot_log::BootLog;
use crate::page_counters::PageCounters;
use crate::vmallocinfo::Vmallocinfo;
use crate::{Root, balloon, kmsg, vmstat, zram};
use plimsoll_units::Bytes;

/// The second tier of a host's counters; `None` for what could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slow {
    /// `/proc/vmstat`.
    pub vmstat: Option<PageCounters>,
    /// `/proc/vmallocinfo`, by caller.
    pub vmallocinfo: Option<Vmallocinfo>,
    /// What the kernel log says of the boot.
    pub boot: Option<BootLog>,
    /// RAM held by each zram device.
    pub zram: Vec<(String, Bytes)>,
    /// Whether pages in the balloon still are part of `MemTotal`.
    pub balloon_in_total: bool,
}

impl Slow {
    /// Reads the second tier.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let read = |path| root.read(path).ok();
        Self {
            vmstat: read("proc/vmstat").map(|text| vmstat::parse(&text)),
            vmallocinfo: read("proc/vmallocinfo").map(|text| Vmallocinfo::parse(&text)),
            boot: kmsg::read(root).ok().map(|log| BootLog::parse(&log)),
            zram: zram::read_all(root),
            balloon_in_total: balloon::in_total(root),
        }
    }
}
