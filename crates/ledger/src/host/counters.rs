//! The kernel's counters, each from the file that shows it best: `/proc/zoneinfo`, where a node's counters are
//! microseconds apart, then `/proc/meminfo`.

use plimsoll_proc::host::{Free, HostSample, Slow};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::page_counters::PageCounters;
use plimsoll_proc::zoneinfo::{Zone, Zoneinfo};
use plimsoll_units::{Bytes, PageSize, Pages};

/// A sample with its counters made into bytes.
pub(super) struct Counters<'a> {
    pub(super) sample: &'a HostSample<'a>,
    /// `MemTotal`.
    pub(super) total: Bytes,
    /// `None` where it is not of the same memory as `meminfo`.
    zoneinfo: Option<&'a Zoneinfo>,
}

impl<'a> Counters<'a> {
    pub(super) fn of(sample: &'a HostSample<'a>) -> Self {
        let total = sample.meminfo.mem_total.unwrap_or_default();
        let zoneinfo = sample.zoneinfo.as_ref();
        let managed = zoneinfo.and_then(|zoneinfo| zoneinfo.of_zones(|zone| zone.managed));
        Self {
            sample,
            total,
            // lxcfs and the like put a container's meminfo over the host's and leave zoneinfo alone
            zoneinfo: zoneinfo
                .filter(|_| managed.is_none_or(|pages| pages.bytes(sample.page) <= total)),
        }
    }

    pub(super) fn meminfo(&self) -> &'a Meminfo {
        &self.sample.meminfo
    }

    pub(super) fn slow(&self) -> &'a Slow {
        self.sample.slow
    }

    pub(super) fn page(&self) -> PageSize {
        self.sample.page
    }

    /// Whether there is a zoneinfo, and of the same memory as `meminfo`.
    pub(super) fn has_zones(&self) -> bool {
        self.zoneinfo.is_some()
    }

    /// Free memory by zone.
    pub(super) fn free(&self) -> Option<Free> {
        self.zoneinfo.and_then(|_| self.sample.free())
    }

    /// A page counter of the nodes.
    pub(super) fn node(&self, which: impl Fn(&PageCounters) -> Option<Pages>) -> Option<Bytes> {
        let pages = self.zoneinfo?.of_nodes(which)?;
        Some(pages.bytes(self.page()))
    }

    /// Several page counters of the nodes together; a counter this kernel lacks adds nothing, but one there must be.
    pub(super) fn nodes<const N: usize>(
        &self,
        which: impl Fn(&PageCounters) -> [Option<Pages>; N],
    ) -> Option<Bytes> {
        self.node(|node| which(node).into_iter().flatten().reduce(|a, b| a + b))
    }

    /// A count of the zones.
    pub(super) fn zone(&self, which: impl Fn(&Zone) -> Option<Pages>) -> Option<Bytes> {
        let pages = self.zoneinfo?.of_zones(which)?;
        Some(pages.bytes(self.page()))
    }

    /// A page counter that some kernels keep by node and some by zone.
    pub(super) fn node_or_zone(
        &self,
        which: impl Fn(&PageCounters) -> Option<Pages>,
    ) -> Option<Bytes> {
        self.node(&which)
            .or_else(|| self.zone(|zone| which(&zone.counters)))
    }

    /// Pages on the per-CPU lists.
    pub(super) fn per_cpu_lists(&self) -> Option<Bytes> {
        let pages = self.zoneinfo?.per_cpu_lists()?;
        Some(pages.bytes(self.page()))
    }

    /// Kernel stacks of all threads.
    pub(super) fn kernel_stacks(&self) -> Option<Bytes> {
        let of_nodes = self
            .zoneinfo
            .and_then(|zoneinfo| zoneinfo.of_nodes(|node| node.nr_kernel_stack));
        of_nodes.or(self.meminfo().kernel_stack)
    }

    /// Slab that a shrinker can empty.
    pub(super) fn slab_reclaimable(&self) -> Option<Bytes> {
        self.node_or_zone(|n| n.nr_slab_reclaimable)
            .or(self.meminfo().s_reclaimable)
    }

    /// Other slab, large kmallocs included.
    pub(super) fn slab_unreclaimable(&self) -> Option<Bytes> {
        self.node_or_zone(|n| n.nr_slab_unreclaimable)
            .or(self.meminfo().s_unreclaim)
    }

    /// All slab pages.
    pub(super) fn slab(&self) -> Option<Bytes> {
        let kinds = self.slab_reclaimable().zip(self.slab_unreclaimable());
        kinds
            .map(|(reclaimable, other)| reclaimable + other)
            .or(self.meminfo().slab)
    }
}
