//! Which pages of a process are there, and how: `/proc/PID/pagemap`
//! (`Documentation/admin-guide/mm/pagemap.rst`).
//!
//! Two ways to ask. `PAGEMAP_SCAN` (Linux 6.7) walks a range in the kernel and gives runs of like pages: holes
//! of any size cost nothing, and it knows the zero page without privilege. Reading the file gives one word
//! per page, holes included; only there is bit 56, whether a page is mapped by this process alone.
//! [`Pagemap::runs`] joins the two: the scan finds what is there, the words tell exclusive pages from those
//! shared by `fork(2)`; where there is no scan, words do for all.

mod counts;
mod entry;
mod runs;
mod scan;

pub use counts::FrameCounts;
pub use entry::Entry;
pub use runs::{Page, Run};
pub use scan::{Categories, Region, Scan, ScanFlags, Scanned};

use crate::Span;
use plimsoll_units::PageSize;
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// An open `/proc/PID/pagemap`. It stays with the memory that the process had when it was opened.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    page_size: PageSize,
}

/// Entries read at a time.
const BATCH: usize = 512;

impl Pagemap {
    /// Opens that of a process (or thread).
    ///
    /// # Errors
    /// `ENOENT`, `ESRCH`: gone; `EACCES`: no ptrace access.
    pub fn open(pid: Pid, page_size: PageSize) -> std::io::Result<Self> {
        let file = File::open(format!("/proc/{}/pagemap", pid.as_raw_pid()))?;
        Ok(Self { file, page_size })
    }

    /// What a page is here.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The words of the pages in `span`, in order, given to `each` with their addresses.
    ///
    /// # Errors
    /// As `read(2)`; past the end of user space there are no entries.
    pub fn entries(&self, span: Span, mut each: impl FnMut(u64, Entry)) -> Result<(), Errno> {
        let page = self.page_size.get();
        let mut bytes = [0; BATCH * 8];
        let mut at = span.start;
        while at < span.end {
            let pages = (span.end - at).div_ceil(page);
            let wanted = usize::try_from(pages).unwrap_or(BATCH).min(BATCH) * 8;
            let buffer = bytes.get_mut(..wanted).unwrap_or_default();
            let length = read_at(&self.file, buffer, (at / page).saturating_mul(8))?;
            if length < 8 {
                return Ok(());
            }
            let (words, _) = buffer.get(..length).unwrap_or_default().as_chunks::<8>();
            for word in words {
                each(at, Entry(u64::from_ne_bytes(*word)));
                at = at.saturating_add(page);
            }
        }
        Ok(())
    }
}

fn read_at(file: &File, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
    loop {
        match file.read_at(into, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            Ok(length) => return Ok(length),
        }
    }
}
