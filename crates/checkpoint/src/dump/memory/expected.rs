//! The pages of a process that are stored.

use super::mappings::Mapped;
use super::source::{Missed, Source};
use crate::error::{Error, Step};
use crate::vma::{Status, has_pages, status};
use plimsoll_image::pagemap::PE_LAZY;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Run};
use plimsoll_units::PageSize;
use rustix::io::Errno;
use rustix::process::Pid;

/// What the kernel put there, and all of it is wanted at once.
const STORED_WHOLE: Status = Status::VDSO.union(Status::AIORING);

/// The pages of a process that are stored.
#[derive(Debug)]
pub(in crate::dump) struct Expected {
    pid: Pid,
    /// In order of address, each with its flags for the images.
    runs: Vec<(Run, u32)>,
    /// Copied ahead, and not written since: in order, apart from `runs`.
    ahead: Vec<Span>,
    /// Of a process that runs.
    missed: Option<Missed>,
}

impl Expected {
    /// Those of a process that stands, and its guard pages; of these `ahead` are there already.
    pub(super) fn of(
        pid: Pid,
        vmas: &[Mapped],
        ahead: Vec<Span>,
        page_size: PageSize,
    ) -> Result<(Self, Vec<Span>), Error> {
        let source = Source::open(pid, page_size, None)?;
        let step = Step::new("read the memory", pid);
        let failed = |errno: Errno| step.errno(errno);
        let (mut runs, mut all_guards) = (Vec::new(), Vec::new());
        for mapped in vmas.iter().filter(|mapped| has_pages(&mapped.vma)) {
            let span = Span {
                start: mapped.vma.start,
                end: mapped.vma.end,
            };
            if status(&mapped.vma).intersects(STORED_WHOLE) {
                let page = Page::Shared;
                runs.push((Run { span, page }, 0));
                continue;
            }
            let guards = if mapped.guarded {
                source.guards(span).map_err(failed)?
            } else {
                Vec::new()
            };
            for part in Span::without(&Span::without(&[span], &ahead), &guards) {
                let found = source.runs(part).map_err(failed)?;
                runs.extend(found.into_iter().map(|run| (run, PE_LAZY)));
            }
            all_guards.extend(guards);
        }
        let expected = Self {
            pid,
            runs,
            ahead,
            missed: None,
        };
        Ok((expected, all_guards))
    }

    /// Those in some mappings of a process that runs: what can't be read by the time is noted in `missed`.
    pub(in crate::dump) fn running(
        pid: Pid,
        spans: &[Span],
        missed: Missed,
        page_size: PageSize,
    ) -> Result<Self, Error> {
        let source = Source::open(pid, page_size, None)?;
        let step = Step::new("read the memory", pid);
        let mut runs = Vec::new();
        for span in spans {
            let found = source.runs(*span).map_err(|errno| step.errno(errno))?;
            runs.extend(found.into_iter().map(|run| (run, PE_LAZY)));
        }
        Ok(Self {
            pid,
            runs,
            ahead: Vec::new(),
            missed: Some(missed),
        })
    }

    pub(in crate::dump) fn pid(&self) -> Pid {
        self.pid
    }

    pub(in crate::dump) fn source(&self, page_size: PageSize) -> Result<Source, Error> {
        Source::open(self.pid, page_size, self.missed.clone())
    }

    /// Runs that others may have, too; not those of the kernel.
    pub(in crate::dump) fn shared(&self) -> impl Iterator<Item = Span> {
        let shared = self.runs.iter();
        let shared = shared.filter(|(run, lazy)| run.page == Page::Shared && *lazy != 0);
        shared.map(|(run, _)| run.span)
    }

    /// All of them in order: what they are and their flags, or `None` for those that the set inside of the set has: what was
    /// copied ahead, and what is `alike` in several processes.
    pub(super) fn parts(&self, alike: &[Span]) -> Vec<(Span, Option<(Page, u32)>)> {
        let mut parts: Vec<_> = self.ahead.iter().map(|span| (*span, None)).collect();
        for (run, lazy) in &self.runs {
            let own = Span::without(&[run.span], alike);
            parts.extend(own.iter().map(|span| (*span, Some((run.page, *lazy)))));
            let common = Span::without(&[run.span], &own);
            parts.extend(common.into_iter().map(|span| (span, None)));
        }
        parts.sort_unstable_by_key(|(span, _)| span.start);
        parts
    }

    /// How many pages of it were copied ahead.
    pub(super) fn ahead_pages(&self, page_size: PageSize) -> u64 {
        let bytes: u64 = self.ahead.iter().map(|span| span.len()).sum();
        bytes / page_size.get()
    }
}
