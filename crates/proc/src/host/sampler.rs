//! Reads the counters again until a reading agrees with itself and with the one before.
//!
//! `/proc/zoneinfo` prints nearly all counters of a node within microseconds, and is what the account stands on;
//! `/proc/meminfo` adds what is only there. Much is in both: how far they disagree on that is how much
//! moved between the one and the other. What both miss together (pages between two lists, a zone that is just
//! being given more memory) shows in the sum of the counters, which a host at rest does not change.

use super::HostSample;
use super::free::{Free, distance};
use super::kernel_file::KernelFile;
use super::slow::Slow;
use crate::meminfo::Meminfo;
use crate::page_counters::PageCounters;
use crate::page_size;
use crate::zoneinfo::Zoneinfo;
use crate::{ReadError, Root};
use plimsoll_units::{Bytes, PageSize, Pages};

/// At most so many readings for one sample.
const READINGS: u32 = 8;

/// A reading that moved by no more than this is taken at once: the kernel's counters lag by as much.
const STILL: Bytes = Bytes::from_kib(128);

/// Samples a host's counters through descriptors that stay open.
#[derive(Debug)]
pub struct HostSampler<'r> {
    root: &'r Root,
    page: PageSize,
    meminfo: KernelFile,
    zoneinfo: Option<KernelFile>,
    slabinfo: Option<KernelFile>,
    slow: Slow,
}

/// What one reading gave.
struct Reading {
    meminfo: Meminfo,
    zoneinfo: Option<Zoneinfo>,
}

impl<'r> HostSampler<'r> {
    /// Opens the files, and reads the second tier.
    ///
    /// # Errors
    /// Where `/proc/meminfo` can't be opened, or the page size of a captured tree is not known; any other
    /// file may be missing.
    pub fn open(root: &'r Root) -> Result<Self, ReadError> {
        Ok(Self {
            root,
            page: page_size::read(root)?,
            meminfo: KernelFile::open(root, "proc/meminfo")?,
            zoneinfo: KernelFile::open(root, "proc/zoneinfo").ok(),
            slabinfo: KernelFile::open(root, "proc/slabinfo").ok(),
            slow: Slow::read(root),
        })
    }

    /// Reads the second tier again.
    pub fn read_slow(&mut self) {
        self.slow = Slow::read(self.root);
    }

    /// A consistent sample of the counters as they are now.
    ///
    /// # Errors
    /// Where `/proc/meminfo` can't be read.
    pub fn sample(&mut self) -> Result<HostSample<'_>, ReadError> {
        let chosen = self.choose()?;
        if self
            .slabinfo
            .as_mut()
            .is_some_and(|file| file.refresh().is_err())
        {
            self.slabinfo = None;
        }
        self.record();
        Ok(HostSample {
            page: self.page,
            meminfo: chosen.meminfo,
            zoneinfo: chosen.zoneinfo,
            slabinfo: self.slabinfo.as_ref().map(KernelFile::bytes),
            slow: &self.slow,
        })
    }

    /// The reading that moved least; the files keep its bytes.
    fn choose(&mut self) -> Result<Reading, ReadError> {
        let mut best = self.read()?;
        self.keep();
        let mut least = None;
        let mut before = self.counted(&best);
        for _ in 1..READINGS {
            let reading = self.read()?;
            let counted = self.counted(&reading);
            let moved = self.disagreement(&reading) + distance(counted, before);
            before = counted;
            if least.is_none_or(|least| moved < least) {
                (best, least) = (reading, Some(moved));
                self.keep();
            }
            if moved <= STILL {
                break;
            }
        }
        Ok(best)
    }

    /// Reads the files once; a zoneinfo that can't be read any more is done without.
    fn read(&mut self) -> Result<Reading, ReadError> {
        if self
            .zoneinfo
            .as_mut()
            .is_some_and(|file| file.refresh().is_err())
        {
            self.zoneinfo = None;
        }
        let meminfo = Meminfo::parse(self.meminfo.refresh()?);
        let zoneinfo = self
            .zoneinfo
            .as_ref()
            .map(|file| Zoneinfo::parse(file.bytes()));
        Ok(Reading { meminfo, zoneinfo })
    }

    /// Keeps the bytes of the last reading, for the record.
    fn keep(&mut self) {
        self.meminfo.keep();
        if let Some(zoneinfo) = &mut self.zoneinfo {
            zoneinfo.keep();
        }
    }

    fn record(&self) {
        self.root.record(self.meminfo.path, self.meminfo.kept());
        if let Some(zoneinfo) = &self.zoneinfo {
            self.root.record(zoneinfo.path, zoneinfo.kept());
        }
        if let Some(slabinfo) = &self.slabinfo {
            self.root.record(slabinfo.path, slabinfo.bytes());
        }
    }

    /// What the zones and nodes have together, each page once: pages that only change hands leave it as it is.
    fn counted(&self, reading: &Reading) -> Bytes {
        let Some(zoneinfo) = &reading.zoneinfo else {
            return Bytes::ZERO;
        };
        let free = Free::of(&reading.meminfo, zoneinfo, self.page).map(Free::bytes);
        let pages = [
            zoneinfo.per_cpu_lists(),
            zoneinfo.of_nodes(|n| n.nr_anon_pages),
            zoneinfo.of_nodes(|n| n.nr_file_pages),
            zoneinfo.of_nodes(|n| n.nr_slab_reclaimable),
            zoneinfo.of_nodes(|n| n.nr_slab_unreclaimable),
            zoneinfo.of_nodes(|n| n.nr_page_table_pages),
        ];
        let pages = pages.into_iter().flatten().map(|n| n.bytes(self.page));
        free.into_iter().chain(pages).sum()
    }

    /// How far the two files are apart in what both have.
    fn disagreement(&self, reading: &Reading) -> Bytes {
        let (meminfo, Some(zoneinfo)) = (&reading.meminfo, &reading.zoneinfo) else {
            return Bytes::ZERO;
        };
        let node = |which: fn(&PageCounters) -> Option<Pages>| {
            Some(zoneinfo.of_nodes(which)?.bytes(self.page))
        };
        let free = Free::of(meminfo, zoneinfo, self.page).map(Free::bytes);
        let both = [
            (meminfo.mem_free, free),
            (meminfo.anon_pages, node(|n| n.nr_anon_pages)),
            (meminfo.shmem, node(|n| n.nr_shmem)),
            (meminfo.s_reclaimable, node(|n| n.nr_slab_reclaimable)),
            (meminfo.s_unreclaim, node(|n| n.nr_slab_unreclaimable)),
            (meminfo.page_tables, node(|n| n.nr_page_table_pages)),
            (meminfo.cached, cached(meminfo, node(|n| n.nr_file_pages))),
        ];
        both.into_iter()
            .filter_map(|(one, other)| Some(distance(one?, other?)))
            .sum()
    }
}

/// `Cached` as `meminfo_proc_show` makes it of the page cache.
fn cached(meminfo: &Meminfo, file_pages: Option<Bytes>) -> Option<Bytes> {
    Some(file_pages? - meminfo.buffers? - meminfo.swap_cached?)
}
