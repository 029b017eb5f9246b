//! What may be missing from an account, and what would show it.

use super::counters::Counters;
use crate::look::Unseen;

/// One thing that may be missing.
pub(super) struct Row {
    pub(super) is_missing: fn(&Counters<'_>) -> bool,
    what: &'static str,
    why: &'static str,
}

impl Row {
    pub(super) fn line(&self) -> Unseen {
        Unseen {
            what: self.what.to_owned(),
            why: self.why.to_owned(),
        }
    }
}

/// All that may be missing.
pub(super) const UNSEEN: &[Row] = &[
    Row {
        is_missing: |c| c.meminfo().mem_total.is_none(),
        what: "the size of the host's RAM",
        why: "/proc/meminfo has no MemTotal",
    },
    Row {
        is_missing: |c| c.sample.zoneinfo.is_none(),
        what: "free pages on per-CPU lists, and zram",
        why: "/proc/zoneinfo could not be read",
    },
    Row {
        is_missing: |c| c.sample.zoneinfo.is_some() && !c.has_zones(),
        what: "the host itself",
        why: "/proc/meminfo shows less memory than the kernel manages: it is a container's (lxcfs)",
    },
    Row {
        is_missing: |c| c.sample.slabinfo.is_none(),
        what: "the slab by cache, and large kmallocs",
        why: "/proc/slabinfo could not be read; root can",
    },
    Row {
        is_missing: |c| c.slow().vmallocinfo.is_none(),
        what: "vmalloc by caller",
        why: "/proc/vmallocinfo could not be read; root can",
    },
    Row {
        is_missing: |c| {
            c.slow()
                .boot
                .as_ref()
                .is_none_or(|boot| boot.tables.is_empty())
        },
        what: "tables made at boot",
        why: "the kernel log could not be read (root can), or no longer reaches back to the boot",
    },
    Row {
        is_missing: |c| {
            c.slow()
                .boot
                .as_ref()
                .is_none_or(|boot| boot.percpu_first_chunk.is_none())
        },
        what: "which per-CPU data was set aside before the rest of RAM",
        why: "the kernel log could not be read (root can), or no longer reaches back to the boot",
    },
];
