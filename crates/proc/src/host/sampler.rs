//! Reads the counters again until a reading agrees with itself.
//!
//! `/proc/zoneinfo` prints nearly all counters of a node within microseconds, and is what the account stands on;
//! `/proc/meminfo` adds what is only there. A reading is `meminfo`, `zoneinfo`, `meminfo`: how far the two
//! `meminfo`s are apart is how much moved meanwhile.

use super::HostSample;
use super::kernel_file::KernelFile;
use super::slow::Slow;
use crate::meminfo::Meminfo;
use crate::page_size;
use crate::zoneinfo::Zoneinfo;
use crate::{ReadError, Root};
use plimsoll_units::{Bytes, PageSize};

/// At most so many readings for one sample.
const READINGS: u32 = 8;

/// A reading during which no more than this moved is taken at once: the kernel's counters lag by as much.
const STILL: Bytes = Bytes::from_kib(128);

/// Samples a host's counters through descriptors that stay open.
#[derive(Debug)]
pub struct HostSampler<'r> {
    root: &'r Root,
    page: PageSize,
    meminfo: KernelFile,
    zoneinfo: Option<KernelFile>,
    slabinfo: Option<KernelFile>,
    chosen: Reading,
    slow: Slow,
}

/// The bytes of one reading.
#[derive(Debug, Default)]
struct Reading {
    meminfo: Vec<u8>,
    zoneinfo: Vec<u8>,
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
            chosen: Reading::default(),
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
        self.choose()?;
        if let Some(slabinfo) = &mut self.slabinfo
            && slabinfo.refresh().is_err()
        {
            self.slabinfo = None;
        }
        self.record();
        Ok(HostSample {
            page: self.page,
            meminfo: Meminfo::parse(&self.chosen.meminfo),
            zoneinfo: self
                .zoneinfo
                .is_some()
                .then(|| Zoneinfo::parse(&self.chosen.zoneinfo)),
            slabinfo: self.slabinfo.as_ref().map(KernelFile::bytes),
            slow: &self.slow,
        })
    }

    /// Leaves the quietest reading in `chosen`.
    fn choose(&mut self) -> Result<(), ReadError> {
        let mut least = None;
        let mut before = Meminfo::parse(self.meminfo.refresh()?);
        for _ in 0..READINGS {
            if let Some(zoneinfo) = &mut self.zoneinfo
                && zoneinfo.refresh().is_err()
            {
                self.zoneinfo = None;
            }
            let after = Meminfo::parse(self.meminfo.refresh()?);
            let moved = moved(&before, &after);
            if least.is_none_or(|least| moved < least) {
                least = Some(moved);
                self.meminfo.keep(&mut self.chosen.meminfo);
                if let Some(zoneinfo) = &mut self.zoneinfo {
                    zoneinfo.keep(&mut self.chosen.zoneinfo);
                }
            }
            if moved <= STILL {
                break;
            }
            before = after;
        }
        Ok(())
    }

    fn record(&self) {
        self.root.record(self.meminfo.path, &self.chosen.meminfo);
        if let Some(zoneinfo) = &self.zoneinfo {
            self.root.record(zoneinfo.path, &self.chosen.zoneinfo);
        }
        if let Some(slabinfo) = &self.slabinfo {
            self.root.record(slabinfo.path, slabinfo.bytes());
        }
    }
}

/// How far two readings are apart in what changes fastest.
fn moved(before: &Meminfo, after: &Meminfo) -> Bytes {
    let counters = |meminfo: &Meminfo| {
        [
            meminfo.mem_free,
            meminfo.anon_pages,
            meminfo.cached,
            meminfo.buffers,
            meminfo.slab,
            meminfo.page_tables,
            meminfo.vmalloc_used,
        ]
    };
    let pairs = counters(before).into_iter().zip(counters(after));
    pairs
        .filter_map(|(before, after)| Some(before?.signed_sub(after?).unsigned_abs()))
        .map(Bytes)
        .sum()
}
