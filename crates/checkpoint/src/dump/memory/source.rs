//! Where the pages of a process are read, and which of them are stored.
//!
//! Pages that the process alone maps are read by `process_vm_readv(2)`, all others through `/proc/PID/mem`, which leaves
//! those shared by `fork(2)` shared.

use crate::error::{Error, Step};
use plimsoll_sys::pagemap::{Categories, Page, Pagemap, Region, Run, Scan};
use plimsoll_sys::{Span, vm};
use plimsoll_units::PageSize;
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// What could not be read of a process that runs meanwhile: it may have given it up.
pub(in crate::dump) type Missed = Arc<Mutex<Vec<Span>>>;

/// Where a process's pages are read.
#[derive(Debug)]
pub(in crate::dump) struct Source {
    pid: Pid,
    memory: File,
    pagemap: Pagemap,
    /// `None` for a process that stands: all of it can be read.
    missed: Option<Missed>,
}

impl Source {
    pub(in crate::dump) fn open(
        pid: Pid,
        page_size: PageSize,
        missed: Option<Missed>,
    ) -> Result<Self, Error> {
        let step = Step::new("read the memory", pid);
        let memory = File::open(format!("/proc/{}/mem", pid.as_raw_pid()));
        Ok(Self {
            pid,
            memory: memory.map_err(|error| step.failed(error))?,
            pagemap: Pagemap::open(pid, page_size).map_err(|error| step.failed(error))?,
            missed,
        })
    }

    pub(in crate::dump) fn pid(&self) -> Pid {
        self.pid
    }

    /// The runs of a range that are stored: the process's own pages, not those of a file, nor the zero page.
    pub(in crate::dump) fn runs(&self, span: Span) -> Result<Vec<Run>, Errno> {
        let mut runs = Vec::new();
        self.pagemap.runs(span, |run| {
            if !matches!(run.page, Page::File | Page::Zero) {
                runs.push(run);
            }
        })?;
        Ok(runs)
    }

    /// Reads pages of one kind. What can't be read of a process that runs is noted, and no error.
    pub(in crate::dump) fn read(
        &self,
        page: Page,
        at: u64,
        into: &mut [u8],
    ) -> std::io::Result<()> {
        match (self.read_all(page, at, into), &self.missed) {
            (Err(_), Some(missed)) => {
                let mut missed = missed.lock().unwrap_or_else(PoisonError::into_inner);
                missed.push(Span::new(at, into.len() as u64));
                Ok(())
            }
            (read, _) => read,
        }
    }

    fn read_all(&self, page: Page, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        if page == Page::Exclusive {
            let span = Span::new(at, into.len() as u64);
            if vm::read(self.pid, &[span], into) == Ok(into.len()) {
                return Ok(());
            }
            // A mapping that may not be read: its tracer may, through the file.
        }
        self.memory.read_exact_at(into, at)
    }

    /// Guard pages, which the kernel counts among those in swap: no page is behind them.
    pub(super) fn guards(&self, span: Span) -> Result<Vec<Span>, Errno> {
        let wanted = Scan {
            any: Categories::GUARD,
            tell: Categories::GUARD,
            ..Scan::default()
        };
        let mut found = Vec::new();
        let mut regions = [Region::EMPTY; 64];
        let mut rest = span;
        while !rest.is_empty() {
            let scanned = self.pagemap.scan(rest, &wanted, &mut regions)?;
            found.extend(regions.iter().take(scanned.regions).map(Region::span));
            if scanned.walk_end <= rest.start {
                break;
            }
            rest.start = scanned.walk_end;
        }
        Ok(found)
    }
}
