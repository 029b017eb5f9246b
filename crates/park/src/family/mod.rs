//! Which pages the processes of a tree share since a `fork(2)`, and what becomes of each: a page is stored once, by
//! the first process that has it, and named by the others.
//!
//! Two processes share a page when both map the same page frame. Forking keeps addresses, so a page is looked for
//! at the same address in every relative; one that was moved since (`mremap(2)`) stays where it is. Dropping a page
//! frees nothing as long as anybody maps it. So it goes only when all its mappings (`/proc/kpagecount`) are in the tree.
//! Both need root (CAP_SYS_ADMIN); without, no frame is known, and such pages stay.
//!
//! Whether a page is *right* never rests on this: it is dropped where it was stored, and nowhere else.

pub(crate) mod outlook;

use crate::ParkError;
use crate::plan::Plan;
use crate::store::{Slot, StoreError};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{FrameCounts, Pagemap};
use plimsoll_units::PageSize;
use rustix::io::Errno;
use rustix::process::Pid;

/// What becomes of a page that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Somebody outside of the tree has it, or nobody knows.
    Stays,
    /// This process is the first that has it.
    Goes,
    /// It was stored for this one.
    Stored(Slot),
}

/// The processes of a stopped tree, by slot.
pub(crate) struct Family {
    members: Vec<Member>,
    /// `None` where they may not be read.
    counts: Option<FrameCounts>,
    page_size: PageSize,
}

struct Member {
    pid: u32,
    pagemap: Pagemap,
    /// Mappings whose pages can go.
    movable: Vec<Span>,
}

/// So many pages are looked at together, at most.
const TOGETHER_PAGES: u64 = 4096;

impl Family {
    /// The family of these processes.
    pub(crate) fn new(
        pids: &[Pid],
        plans: &[Plan],
        page_size: PageSize,
    ) -> Result<Self, ParkError> {
        let members = pids.iter().zip(plans).map(|(raw, plan)| {
            let pid = raw.as_raw_pid().unsigned_abs();
            let pagemap = Pagemap::open(*raw, page_size).map_err(|error| ParkError::Process {
                operation: "open the page map of",
                pid,
                source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?;
            let movable = plan.movable.clone();
            Ok(Member {
                pid,
                pagemap,
                movable,
            })
        });
        let members = members.collect::<Result<Vec<Member>, ParkError>>()?;
        let alone = members.len() < 2;
        Ok(Self {
            members,
            counts: FrameCounts::open().ok().filter(|_| !alone),
            page_size,
        })
    }

    /// The page map of a member.
    pub(crate) fn pagemap(&self, slot: Slot) -> Option<&Pagemap> {
        Some(&self.members.get(slot.0 as usize)?.pagemap)
    }

    /// What becomes of the shared pages in `span` of a member: runs of like fate, in order. `stored_until` says whether
    /// a member's page is stored as its own, and how far that goes.
    pub(crate) fn fates(
        &self,
        slot: Slot,
        span: Span,
        stored_until: impl Fn(Slot, u64) -> Result<Option<u64>, StoreError>,
    ) -> Result<Vec<(Span, Fate)>, ParkError> {
        let Some(counts) = &self.counts else {
            return Ok(vec![(span, Fate::Stays)]);
        };
        let page = self.page_size.get();
        let mut runs: Vec<(Span, Fate)> = Vec::new();
        for part in self.parts(span) {
            let pages = (0..).map(|number| self.address(part, number));
            let fates = self.of(slot, part, counts, &stored_until)?;
            for (at, fate) in pages.zip(fates) {
                match runs.last_mut() {
                    Some((last, same)) if *same == fate && last.end == at => last.end += page,
                    _ => runs.push((Span::new(at, page), fate)),
                }
            }
        }
        Ok(runs)
    }

    /// As much as is looked at together.
    fn parts(&self, span: Span) -> impl Iterator<Item = Span> + use<> {
        let most = TOGETHER_PAGES.saturating_mul(self.page_size.get());
        let mut at = span.start;
        std::iter::from_fn(move || {
            let part = Span::new(at, most.min(span.end.saturating_sub(at)));
            at = part.end;
            (!part.is_empty()).then_some(part)
        })
    }

    fn of(
        &self,
        slot: Slot,
        span: Span,
        counts: &FrameCounts,
        stored_until: impl Fn(Slot, u64) -> Result<Option<u64>, StoreError>,
    ) -> Result<Vec<Fate>, ParkError> {
        let own = self.frames(slot, span)?;
        let mut fates = vec![Fate::Stays; own.len()];
        let mut settled: Vec<bool> = own.iter().map(|frame| *frame == 0).collect();
        for elder in (0..slot.0).map(Slot) {
            let mut known = 0;
            for number in self.same(elder, span, &own, &settled)? {
                let address = self.address(span, number);
                if address >= known {
                    known = stored_until(elder, address)?.unwrap_or(0);
                }
                // Else the elder keeps it: somebody outside has it, or had when it was that one's turn.
                if address < known {
                    set(&mut fates, number, Fate::Stored(elder));
                }
                set(&mut settled, number, true);
            }
        }
        let mut mappings = vec![1u64; own.len()];
        for younger in self.younger(slot) {
            for number in self.same(younger, span, &own, &settled)? {
                if let Some(count) = mappings.get_mut(number) {
                    *count += 1;
                }
            }
        }
        let all = self.mappings_of(counts, slot, &own)?;
        let open = settled.iter().enumerate().filter(|(_, settled)| !**settled);
        for (number, _) in open {
            if mappings.get(number) == all.get(number) {
                set(&mut fates, number, Fate::Goes);
            }
        }
        Ok(fates)
    }

    fn younger(&self, slot: Slot) -> impl Iterator<Item = Slot> + use<> {
        let end = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        (slot.0.saturating_add(1)..end).map(Slot)
    }

    /// How many mappings each frame has, on the whole host.
    fn mappings_of(
        &self,
        counts: &FrameCounts,
        slot: Slot,
        frames: &[u64],
    ) -> Result<Vec<u64>, ParkError> {
        let mut all = Vec::with_capacity(frames.len());
        let counted = counts.of(frames, |count| all.push(count));
        counted.map_err(self.failed("count who else maps the pages of", slot))?;
        Ok(all)
    }

    /// The numbers of the pages that are not settled and that a member has, too.
    fn same(
        &self,
        member: Slot,
        span: Span,
        own: &[u64],
        settled: &[bool],
    ) -> Result<Vec<usize>, ParkError> {
        if settled.iter().all(|settled| *settled) {
            return Ok(Vec::new());
        }
        let theirs = self.frames(member, span)?;
        let pages = own.iter().zip(theirs).zip(settled).enumerate();
        let same = pages.filter(|(_, ((own, theirs), settled))| *own == theirs && !**settled);
        Ok(same.map(|(number, _)| number).collect())
    }

    fn failed(&self, operation: &'static str, slot: Slot) -> impl FnOnce(Errno) -> ParkError {
        let pid = self.members.get(slot.0 as usize).map_or(0, |own| own.pid);
        move |source| ParkError::Process {
            operation,
            pid,
            source,
        }
    }

    fn address(&self, span: Span, number: usize) -> u64 {
        let ahead = (number as u64).saturating_mul(self.page_size.get());
        span.start.saturating_add(ahead)
    }

    /// The frame of each page in `span` that a member can part with; 0 where there is none.
    fn frames(&self, slot: Slot, span: Span) -> Result<Vec<u64>, ParkError> {
        let page = self.page_size.get();
        let pages = usize::try_from(span.len() / page).unwrap_or_default();
        let mut frames = vec![0; pages];
        let Some(member) = self.members.get(slot.0 as usize) else {
            return Ok(frames);
        };
        let first = member
            .movable
            .partition_point(|movable| movable.end <= span.start);
        let near = member.movable.iter().skip(first);
        for part in near.map_while(|movable| movable.intersection(span)) {
            let keep = |address: u64, entry: plimsoll_sys::pagemap::Entry| {
                let number = (address - span.start) / page;
                let place = usize::try_from(number).ok().and_then(|n| frames.get_mut(n));
                if let (Some(place), Some(frame), false) = (place, entry.frame(), entry.file()) {
                    *place = frame;
                }
            };
            let read = member.pagemap.entries(part, keep);
            read.map_err(self.failed("read the page map of", slot))?;
        }
        Ok(frames)
    }
}

fn set<T>(all: &mut [T], number: usize, to: T) {
    if let Some(place) = all.get_mut(number) {
        *place = to;
    }
}
