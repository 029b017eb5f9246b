//! The pages of a tree come back: the pager runs until nothing is missing, then each space is disarmed.

use super::STOP_TIMEOUT;
use super::lazy::until_rung;
use crate::fault_point::fault_point;
use crate::heirs::Heirs;
use crate::pager::{Caller, FillError, Pager, Room, Space, Unasked};
use crate::plan::Plan;
use crate::runtime::{Entry, Record};
use crate::source::Source;
use crate::{ParkError, arm};
use plimsoll_proc::Root;
use plimsoll_surgery::stop::{StopError, StoppedTree};
use plimsoll_surgery::tree::Extent;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::vm::{self, Advice};
use plimsoll_units::PageSize;
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;

/// What the pages of a space are brought back with.
struct Return<'r> {
    root: &'r Root,
    source: &'r Source,
    page_size: PageSize,
}

pub(super) fn heirs<'h>(
    root: &'h Root,
    entry: &'h Entry,
    record: &'h Record,
    session: Option<u64>,
) -> Result<Heirs<'h>, ParkError> {
    Ok(Heirs {
        root,
        entry,
        record,
        session,
        page_size: plimsoll_proc::page_size::read(root)?,
    })
}

/// How pages come back.
pub(super) struct Course<'c> {
    pub(super) thaw: &'c mut dyn FnMut() -> Result<(), ParkError>,
    pub(super) progress: &'c mut dyn FnMut(u64),
    /// Only what is touched comes back, until this is rung.
    pub(super) bell: Option<&'c File>,
    /// The rest waits while there is none.
    pub(super) room: Option<Room<'c>>,
    /// The tree, when it stands already.
    pub(super) standing: Option<StoppedTree>,
}

/// Runs the pager until everything is back; gives the bytes.
pub(super) fn from_source(
    heirs: &Heirs<'_>,
    source: &Source,
    course: &mut Course<'_>,
) -> Result<u64, ParkError> {
    let Heirs {
        root,
        record,
        page_size,
        ..
    } = *heirs;
    let pager = Pager::new(source, page_size, heirs.spaces()?);
    let pager = pager.map_err(|source| {
        let top = record.names().next().map_or(0, |name| name.pid);
        failed("listen to", top)(source)
    })?;
    let pager = pager.while_there_is(course.room.take());
    let back = Return {
        root,
        source,
        page_size,
    };
    let wait = course.bell.map(|bell| || until_rung(bell, record));
    let unasked = match &wait {
        None => Unasked::Returns,
        Some(wait) => Unasked::Stays(wait),
    };
    let standing = &mut course.standing;
    let mut caller = Caller {
        ready: &mut *course.thaw,
        progress: &mut *course.progress,
        adopt: &mut |pager, space| heirs.adopt(pager, space),
        release: &mut |pager, space| match (space.pid(), &mut *standing) {
            // A child whose pages are all back: our descriptor is the only one, and goes with the pager.
            (None, _) => Ok(true),
            (Some(pid), Some(tree)) => back.release(pager, space, pid, tree),
            (Some(pid), None) => match StoppedTree::stop(root, pid, Extent::Only, STOP_TIMEOUT) {
                Err(StopError::Gone { .. }) => Ok(true),
                tree => back.release(pager, space, pid, &mut tree?),
            },
        },
    };
    let outcome = pager.run(unasked, &mut caller);
    let returned_bytes = pager.returned_bytes();
    let error = match outcome {
        Ok(pages) => {
            let mut pages = pages.into_iter();
            match pages.next() {
                None => {
                    make_huge_again(record);
                    keep_first_touches(heirs, &pager);
                    return Ok(returned_bytes);
                }
                Some(first) => ParkError::Damaged {
                    others: pages.len(),
                    first: Box::new(first),
                },
            }
        }
        Err(error) => error,
    };
    pager.abandon();
    Err(error)
}

/// For the next time. Children have no record that it could go by.
fn keep_first_touches(heirs: &Heirs<'_>, pager: &Pager<'_>) {
    for space in pager.all_spaces() {
        let mut names = heirs.record.processes.iter().map(|member| member.name);
        if let Some(name) = names.find(|name| Some(name.pid) == space.pid()) {
            let touches = space.first_touches().for_next_time();
            heirs.entry.keep_first_touches(name, &touches);
        }
    }
}

/// Makes huge pages where there were some; a wish, not a must. What moved since stays as it is.
fn make_huge_again(record: &Record) {
    const STEP_BYTES: u64 = 64 << 20;
    for member in &record.processes {
        let Ok(process) = arm::pidfd(member.name.pid) else {
            continue;
        };
        for (start, end) in &member.huge {
            let mut at = *start;
            while at < *end {
                let step = Span::new(at, STEP_BYTES.min(end - at));
                let _ = vm::advise(&process, &[step], Advice::Collapse);
                at = step.end;
            }
        }
    }
}

fn pagemap(pid: u32, page_size: PageSize) -> Result<Pagemap, ParkError> {
    let known = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pagemap = Pagemap::open(known.ok_or(ParkError::NoProcess(pid))?, page_size);
    pagemap.map_err(|error| failed("open the page map of", pid)(errno(&error)))
}

impl Return<'_> {
    /// Makes sure that every stored page of a process that stands is in its memory; then disarms it and closes the
    /// descriptor in it. `false` when something is still missing.
    fn release(
        &self,
        pager: &Pager<'_>,
        space: &Arc<Space>,
        pid: u32,
        tree: &mut StoppedTree,
    ) -> Result<bool, ParkError> {
        for address in pager.attend(space) {
            pager.answer(space, address);
        }
        let pagemap = pagemap(pid, self.page_size)?;
        let back = space.is_back(self.source, &pagemap);
        let back = back.map_err(|error| match error {
            FillError::Source(error) => error.into(),
            FillError::Kernel(errno) => failed("read the page map of", pid)(errno),
        })?;
        if !back {
            return Ok(false);
        }
        fault_point("back");
        // From here on absent pages are zeros.
        for span in Plan::armed_now(self.root, pid)? {
            space
                .uffd()
                .unregister(span)
                .map_err(failed("disarm", pid))?;
        }
        fault_point("disarmed");
        let standing = tree.processes.iter_mut();
        for process in standing.filter(|process| process.name.pid == pid) {
            arm::close_all(self.root, process)?;
        }
        fault_point("closed");
        Ok(true)
    }
}

fn failed(operation: &'static str, pid: u32) -> impl FnOnce(Errno) -> ParkError {
    move |source| ParkError::Process {
        operation,
        pid,
        source,
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
