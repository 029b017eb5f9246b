//! The settings of a cgroup v1 group: memory controller and pids controller.
//!
//! `Documentation/admin-guide/cgroup-v1/memory.rst`. The limit on RAM may never be above the limit on RAM and swap together:
//! the wider is raised first and lowered last, else the kernel says `EINVAL`. A limit below what can't be reclaimed is
//! refused with `EBUSY`, and the one that was stays.

use super::setting::settings;
use super::{ControlError, Group};
use plimsoll_units::Limit;

/// The settings of one group.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'g>(pub &'g Group);

settings!(Settings {
    /// User memory, page cache and kernel memory; TCP buffers are counted apart.
    set_limit: Limit = "memory.limit_in_bytes",
    /// RAM and swap together; only where swap is accounted for.
    set_memsw_limit: Limit = "memory.memsw.limit_in_bytes",
    /// Kernel memory alone: since 5.16 the kernel refuses it with `EOPNOTSUPP`, and counts it in the limit on all.
    set_kmem_limit: Limit = "memory.kmem.limit_in_bytes",
    /// TCP buffers, which are not even counted before this is written once.
    set_tcp_limit: Limit = "memory.kmem.tcp.limit_in_bytes",
    /// What it is reclaimed down to first when the host is short.
    set_soft_limit: Limit = "memory.soft_limit_in_bytes",
    /// How readily anonymous memory is reclaimed, beside page cache: 0 to 200, 60 unless set.
    set_swappiness: u64 = "memory.swappiness",
    /// Whether who meets the limit waits for memory, instead of being killed.
    set_oom_kill_disable: bool = "memory.oom_control",
    /// Processes and threads in the group and below it; in the pids hierarchy.
    set_pids_max: Limit = "pids.max",
});

impl Settings<'_> {
    /// Has the kernel reclaim as much of it as it can. What is left is read from the usage.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn force_empty(&self) -> Result<(), ControlError> {
        self.0.set("memory.force_empty", "0")
    }
}
