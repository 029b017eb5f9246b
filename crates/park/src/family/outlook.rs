//! What parking by a store would make of the pages that a tree shares since a fork: how much leaves, how much stays, and
//! how much more it is when it comes back. The tree may be running.

use super::{Family, set};
use crate::ParkError;
use crate::plan::Plan;
use crate::store::Slot;
use plimsoll_surgery::holds::Holds;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Page;
use plimsoll_units::{Bytes, PageSize};
use rustix::process::Pid;

/// The pages that one process shares with others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Would be stored as this one's.
    pub(crate) goes: Bytes,
    /// Would be stored as another's, and comes back as a copy.
    pub(crate) copies: Bytes,
    /// Somebody outside of the tree has them, too, or nobody knows.
    pub(crate) stays: Bytes,
}

/// By process.
pub(crate) fn of(processes: &[Holds], page_size: PageSize) -> Result<Vec<Shared>, ParkError> {
    let mut shared: Vec<Shared> = vec![Shared::default(); processes.len()];
    let plans: Vec<Plan> = processes
        .iter()
        .map(|holds| Plan::of(&holds.mappings))
        .collect();
    let pids: Vec<Pid> = processes.iter().filter_map(|one| one.name.pid()).collect();
    let family = match Family::new(&pids, &plans, page_size) {
        Ok(family) => Some(family).filter(|family| family.counts.is_some()),
        Err(_) => None, // not ours to look at, or gone: told elsewhere
    };
    for ((slot, holds), plan) in (0..).map(Slot).zip(processes).zip(&plans) {
        for mapping in &holds.mappings {
            let any = mapping.pages.shared_by_fork > Bytes::ZERO;
            if !any || !plan.movable.contains(&mapping.span) {
                continue;
            }
            match &family {
                Some(family) => family.tally(slot, mapping.span, &mut shared)?,
                None => {
                    if let Some(own) = shared.get_mut(slot.0 as usize) {
                        own.stays += mapping.pages.shared_by_fork;
                    }
                }
            }
        }
    }
    Ok(shared)
}

impl Family {
    /// Counts the shared pages of a mapping, for all who have them, when their eldest is asked.
    fn tally(&self, slot: Slot, mapping: Span, shared: &mut [Shared]) -> Result<(), ParkError> {
        let Some(pagemap) = self.pagemap(slot) else {
            return Ok(());
        };
        let mut runs = Vec::new();
        let read = pagemap.runs(mapping, |run| runs.push(run));
        read.map_err(self.failed("read the page map of", slot))?;
        let only_shared = runs.iter().filter(|run| run.page == Page::Shared);
        for part in only_shared.flat_map(|run| self.parts(run.span)) {
            self.tally_part(slot, part, shared)?;
        }
        Ok(())
    }

    fn tally_part(&self, slot: Slot, span: Span, shared: &mut [Shared]) -> Result<(), ParkError> {
        let Some(counts) = &self.counts else {
            return Ok(());
        };
        let own = self.frames(slot, span)?;
        let mut settled: Vec<bool> = own.iter().map(|frame| *frame == 0).collect();
        for elder in (0..slot.0).map(Slot) {
            for number in self.same(elder, span, &own, &settled)? {
                set(&mut settled, number, true);
            }
        }
        let mut mappings = vec![1u64; own.len()];
        let mut theirs = Vec::new();
        for younger in self.younger(slot) {
            let same = self.same(younger, span, &own, &settled)?;
            for number in &same {
                if let Some(count) = mappings.get_mut(*number) {
                    *count += 1;
                }
            }
            theirs.push((younger, same));
        }
        let all = self.mappings_of(counts, slot, &own)?;
        let page = Bytes(self.page_size.get());
        let in_tree = |number: usize| mappings.get(number) == all.get(number);
        let mut book = |slot: Slot, number: usize, eldest: bool| {
            let Some(one) = shared.get_mut(slot.0 as usize) else {
                return;
            };
            match (in_tree(number), eldest) {
                (false, _) => one.stays += page,
                (true, true) => one.goes += page,
                (true, false) => one.copies += page,
            }
        };
        for (number, _) in settled.iter().enumerate().filter(|(_, settled)| !**settled) {
            book(slot, number, true);
        }
        for (younger, same) in theirs {
            for number in same {
                book(younger, number, false);
            }
        }
        Ok(())
    }
}
