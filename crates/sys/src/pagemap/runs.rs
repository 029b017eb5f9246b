//! Runs of like pages: what surgery asks of a mapping.

use super::{Categories, Entry, Pagemap, Region, Scan};
use crate::Span;
use rustix::io::Errno;

/// What a populated page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// In RAM, mapped by this process alone: best read with [`crate::vm::read`].
    Exclusive,
    /// In RAM, mapped elsewhere too (by `fork(2)`): read through `/proc/PID/mem`, or it is copied.
    Shared,
    /// The zero page. Where the kernel has no scan, it counts as [`Page::Shared`].
    Zero,
    /// In RAM, of a file or of shared memory.
    File,
    /// In swap.
    Swapped,
}

/// A run of like pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where.
    pub span: Span,
    /// What they are.
    pub page: Page,
}

/// Regions taken at a time: 12 KiB of stack.
const ROOM: usize = 512;

impl Pagemap {
    /// The runs of populated pages in `span`, in order. Pages that a running process changes meanwhile are seen
    /// before or after.
    ///
    /// # Errors
    /// As [`Pagemap::scan`] and [`Pagemap::entries`].
    pub fn runs(&self, span: Span, mut each: impl FnMut(Run)) -> Result<(), Errno> {
        let mut joined = Joined::new(&mut each);
        let populated = Scan {
            any: Categories::PRESENT | Categories::SWAPPED,
            tell: Categories::PRESENT | Categories::FILE | Categories::PFNZERO,
            ..Scan::default()
        };
        let mut regions = [Region::EMPTY; ROOM];
        let mut rest = span;
        while !rest.is_empty() {
            let scanned = match self.scan(rest, &populated, &mut regions) {
                // No PAGEMAP_SCAN: commit 52526ca7fdb9 ("fs/proc/task_mmu: implement IOCTL to get and optionally
                // clear info about PTEs"), in 6.7.
                Err(Errno::NOTTY | Errno::INVAL) if rest == span => {
                    self.classify(span, &mut joined)?;
                    break;
                }
                scanned => scanned?,
            };
            for region in regions.iter().take(scanned.regions) {
                self.explain(region, &mut joined)?;
            }
            if scanned.walk_end <= rest.start {
                break; // no progress: cannot happen, must not loop
            }
            rest.start = scanned.walk_end;
        }
        joined.finish();
        Ok(())
    }

    /// The runs of mapped pages in `span` that are neither in RAM nor in swap, in order. Where the kernel has no scan,
    /// what is not mapped counts too.
    ///
    /// # Errors
    /// As [`Pagemap::scan`] and [`Pagemap::entries`].
    pub fn absent(&self, span: Span, mut each: impl FnMut(Span)) -> Result<(), Errno> {
        let there = Categories::PRESENT | Categories::SWAPPED;
        let absent = Scan {
            all: there,
            inverted: there,
            ..Scan::default()
        };
        match self.each_region(span, &absent, |region| each(region.span())) {
            Err(Errno::NOTTY | Errno::INVAL) => self.absent_words(span, &mut each),
            walked => walked,
        }
    }

    /// The runs of pages in `span` that are mapped as huge pages, in order; none where the kernel has no scan.
    ///
    /// # Errors
    /// As [`Pagemap::scan`].
    pub fn huge(&self, span: Span, mut each: impl FnMut(Span)) -> Result<(), Errno> {
        let huge = Scan {
            all: Categories::HUGE | Categories::PRESENT,
            ..Scan::default()
        };
        match self.each_region(span, &huge, |region| each(region.span())) {
            Err(Errno::NOTTY | Errno::INVAL) => Ok(()),
            walked => walked,
        }
    }

    /// All regions that a scan finds, in order.
    ///
    /// # Errors
    /// As [`Pagemap::scan`].
    pub fn each_region(
        &self,
        span: Span,
        scan: &Scan,
        mut each: impl FnMut(&Region),
    ) -> Result<(), Errno> {
        let mut regions = [Region::EMPTY; ROOM];
        let mut rest = span;
        while !rest.is_empty() {
            let scanned = self.scan(rest, scan, &mut regions)?;
            regions.iter().take(scanned.regions).for_each(&mut each);
            if scanned.walk_end <= rest.start {
                break; // no progress: cannot happen, must not loop
            }
            rest.start = scanned.walk_end;
        }
        Ok(())
    }

    fn absent_words(&self, span: Span, each: &mut impl FnMut(Span)) -> Result<(), Errno> {
        let size = self.page_size.get();
        let mut open: Option<Span> = None;
        self.entries(span, |address, entry| {
            let absent = !entry.present() && !entry.swapped();
            open = match (open, absent) {
                (Some(run), true) => Some(Span {
                    end: address.saturating_add(size),
                    ..run
                }),
                (None, true) => Some(Span::new(address, size)),
                (Some(run), false) => {
                    each(run);
                    None
                }
                (None, false) => None,
            };
        })?;
        open.into_iter().for_each(each);
        Ok(())
    }

    fn explain(&self, region: &Region, joined: &mut Joined<'_>) -> Result<(), Errno> {
        let is = |category| region.categories().contains(category);
        let page = if !is(Categories::PRESENT) {
            Page::Swapped
        } else if is(Categories::PFNZERO) {
            Page::Zero
        } else if is(Categories::FILE) {
            Page::File
        } else {
            return self.classify(region.span(), joined);
        };
        joined.add(region.span(), page);
        Ok(())
    }

    fn classify(&self, span: Span, joined: &mut Joined<'_>) -> Result<(), Errno> {
        let size = self.page_size.get();
        self.entries(span, |address, entry| {
            if let Some(page) = Page::of(entry) {
                joined.add(Span::new(address, size), page);
            }
        })
    }
}

impl Page {
    fn of(entry: Entry) -> Option<Self> {
        if entry.guard() {
            return None;
        }
        match (entry.present(), entry.swapped()) {
            (true, _) if entry.file() => Some(Self::File),
            (true, _) if entry.exclusive() => Some(Self::Exclusive),
            (true, _) => Some(Self::Shared),
            (false, true) => Some(Self::Swapped),
            (false, false) => None,
        }
    }
}

/// Joins neighbours of the same kind.
struct Joined<'e> {
    open: Option<Run>,
    each: &'e mut dyn FnMut(Run),
}

impl<'e> Joined<'e> {
    fn new(each: &'e mut dyn FnMut(Run)) -> Self {
        Self { open: None, each }
    }

    fn add(&mut self, span: Span, page: Page) {
        match &mut self.open {
            Some(run) if run.page == page && run.span.end == span.start => run.span.end = span.end,
            _ => {
                self.finish();
                self.open = Some(Run { span, page });
            }
        }
    }

    fn finish(&mut self) {
        if let Some(run) = self.open.take() {
            (self.each)(run);
        }
    }
}
