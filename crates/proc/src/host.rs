//! What the host's account is computed from, read so that it agrees with itself.
//!
//! The counters are in several files, and a busy host changes between reading one and the next. So
//! [`HostSampler`] opens the files once, reads them by `pread(2)` into buffers that are used again, and reads
//! again until the files agree, or takes the reading in which they agree best. What hardly changes, or
//! takes the kernel milliseconds to print (`/proc/vmallocinfo`), is a second tier, [`Slow`], read once for each look.
//!
//! A recording [`Root`](crate::Root) is given the bytes of the reading that was chosen, so that the captured
//! tree gives the same sample again.

mod free;
mod kernel_file;
mod sampler;
mod slow;
#[cfg(test)]
mod tests;

use crate::meminfo::Meminfo;
use crate::slabinfo::{self, Cache};
use crate::zoneinfo::Zoneinfo;
use plimsoll_units::PageSize;

pub use free::Free;
pub use sampler::HostSampler;
pub use slow::Slow;

/// One consistent reading of a host's counters.
#[derive(Debug, Clone)]
pub struct HostSample<'a> {
    /// The host's page size.
    pub page: PageSize,
    /// `/proc/meminfo`.
    pub meminfo: Meminfo,
    /// `/proc/zoneinfo`, where there is one.
    pub zoneinfo: Option<Zoneinfo>,
    /// `/proc/slabinfo`, where it may be read.
    pub slabinfo: Option<&'a [u8]>,
    /// The second tier, as it was last read.
    pub slow: &'a Slow,
}

impl<'a> HostSample<'a> {
    /// Free memory by zone; `None` without a zoneinfo.
    #[must_use]
    pub fn free(&self) -> Option<Free> {
        Free::of(&self.meminfo, self.zoneinfo.as_ref()?, self.page)
    }

    /// The kernel's object caches; `None` where they may not be read.
    #[must_use]
    pub fn caches(&self) -> Option<impl Iterator<Item = Cache<'a>>> {
        self.slabinfo.map(slabinfo::parse)
    }
}
