//! Resuming: a parked tree runs at once, and gets its memory back behind it.
//!
//! Whatever state a record is in, resuming goes on from there: a plimsoll that was killed while it parked, one that
//! was killed while it paged, a tree that somebody thawed under our hands.

use crate::arm;
use crate::fault_point::fault_point;
use crate::heirs::Heirs;
use crate::out::open_store;
use crate::pager::{FillError, Pager, Space};
use crate::plan::Plan;
use crate::runtime::{Entry, Means, Record, Runtime, State};
use crate::session::{Guarded, Session};
use crate::store::Store;
use crate::wake::WakeOn;
use crate::{ParkError, swap};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze;
use plimsoll_surgery::stop::{StopError, StoppedTree};
use plimsoll_surgery::tree::{Extent, members};
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_units::PageSize;
use rustix::io::Errno;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a process may take to come to a stand for its descriptor to be closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A tree runs again.
#[derive(Debug)]
pub struct Resumed {
    /// What was known of it.
    pub record: Record,
    /// Bytes that were brought back by us.
    pub returned_bytes: u64,
    /// Until it ran again.
    pub running_after: Duration,
    /// Why a swap file of our own could not be removed.
    pub swap_kept: Option<ParkError>,
}

/// The record of the tree that a process belongs to. Records whose processes are all gone are cleared away, with
/// their stores.
///
/// # Errors
/// When records can't be read.
pub fn find(runtime: &Runtime, root: &Root, pid: u32) -> Result<Option<Record>, ParkError> {
    for record in living(runtime, root)? {
        if record.names().any(|name| name.pid == pid) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The records of all trees that still live, the others cleared away.
///
/// # Errors
/// When records can't be read.
pub fn living(runtime: &Runtime, root: &Root) -> Result<Vec<Record>, ParkError> {
    freeze::sweep(root)?;
    let mut living = Vec::new();
    for record in runtime.records()? {
        let record = record?;
        let mut lives = false;
        for name in record.names() {
            lives |= name.lives(root)?;
        }
        if lives {
            living.push(record);
        } else {
            clear_away(runtime, root, &record)?;
        }
    }
    // One that doesn't fit in memory now stays for the next command.
    let _ = swap::own::tidy(root, runtime);
    Ok(living)
}

/// How a tree stands, as far as can be told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Another plimsoll is parking it.
    Parking,
    /// It is out.
    Parked,
    /// Another plimsoll is bringing it back.
    Resuming,
    /// A plimsoll that was at it is gone: it wants to be resumed.
    Waiting,
}

/// How the tree of a record stands.
///
/// # Errors
/// When its lock can't be looked at.
pub fn standing(runtime: &Runtime, record: &Record) -> Result<Standing, ParkError> {
    let Some(first) = record.processes.first() else {
        return Ok(Standing::Parked);
    };
    let at_work = runtime.lock(first.name)?.is_none();
    Ok(match (record.state, at_work) {
        (State::Parked, _) => Standing::Parked,
        (State::Parking, true) => Standing::Parking,
        (State::Resuming, true) => Standing::Resuming,
        (_, false) => Standing::Waiting,
    })
}

/// Everything that was left of a tree that has ended.
fn clear_away(runtime: &Runtime, root: &Root, record: &Record) -> Result<(), ParkError> {
    let Some(first) = record.processes.first() else {
        return Ok(());
    };
    if let Some(entry) = runtime.lock(first.name)? {
        if let Some(plan) = &record.frozen {
            plan.thaw(root)?;
        }
        end_guardians(root, &entry)?;
        forget(entry, record)?;
    }
    Ok(())
}

/// Nothing is left that a guardian could hold.
fn end_guardians(root: &Root, entry: &Entry) -> Result<(), ParkError> {
    for session in entry.sessions()? {
        session.end(root)?;
    }
    Ok(())
}

/// The store first: a record without one can be cleared away, a store without a record would stay.
fn forget(entry: Entry, record: &Record) -> Result<(), ParkError> {
    if let Means::Store { dir } = &record.means {
        remove_store(dir)?;
    }
    fault_point("store-removed");
    entry.remove()?;
    fault_point("forgotten");
    Ok(())
}

fn remove_store(dir: &Path) -> Result<(), ParkError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(crate::store::StoreError::io("remove", dir)(error).into())
        }
        _ => Ok(()),
    }
}

/// Lets the tree that `pid` belongs to run, and brings its memory back.
///
/// # Errors
/// [`ParkError::Damaged`] when stored pages can't be had: whoever touches them waits, the record and the store stay.
pub fn resume(root: &Root, runtime: &Runtime, pid: u32) -> Result<Resumed, ParkError> {
    let begun = Instant::now();
    let found = find(runtime, root, pid)?.ok_or(ParkError::NotParked(pid))?;
    let top = found
        .processes
        .first()
        .ok_or(ParkError::NotParked(pid))?
        .name;
    let entry = runtime.lock(top)?.ok_or(ParkError::Busy(pid))?;
    // Another plimsoll may have had it between the two.
    let mut record = entry.record()?.ok_or(ParkError::NotParked(pid))?;
    if record.state == State::Parked {
        record.state = State::Resuming;
        entry.write(&record)?;
        if record.wake == WakeOn::Input {
            runtime.tell_watcher()?;
        }
    }
    fault_point("resuming");
    let mut running_after = Duration::ZERO;
    let mut thaw = || {
        if let Some(plan) = &record.frozen {
            plan.thaw(root)?;
        }
        running_after = begun.elapsed();
        fault_point("thawed");
        Ok(())
    };
    let returned_bytes = match &record.means {
        Means::Store { dir } if is_armed(root, &record)? || is_guarded(&entry)? => {
            let store = open_store(dir)?;
            let session = Session::begin(&entry)?;
            let heirs = heirs(root, &entry, &record, Some(session.number))?;
            let returned = from_store(&heirs, &store, &mut thaw, &mut None)?;
            session.end();
            end_guardians(root, &entry)?;
            returned
        }
        means => {
            thaw()?;
            let swapped = *means == Means::Swap;
            for member in record.processes.iter().filter(|_| swapped) {
                if member.name.lives(root)? {
                    swap::bring_back(root, member.name.pid)?;
                }
            }
            0
        }
    };
    fault_point("returned");
    record.children = entry.record()?.map_or_else(Vec::new, |now| now.children);
    close_leftovers(root, &record)?;
    forget(entry, &record)?;
    let swap_kept = swap::own::tidy(root, runtime).err();
    Ok(Resumed {
        record,
        returned_bytes,
        running_after,
        swap_kept,
    })
}

/// Whether any process of the tree has memory that is armed: only then pages of it may be in the store alone.
fn is_armed(root: &Root, record: &Record) -> Result<bool, ParkError> {
    for name in record.names() {
        if name.lives(root)? && !Plan::read(root, name.pid)?.armed.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a guardian may hold descriptors of children.
fn is_guarded(entry: &Entry) -> Result<bool, ParkError> {
    Ok(entry.sessions()?.iter().any(Guarded::is_orphaned))
}

/// Closes descriptors that were made in a process and never put to use, or disarmed and not yet closed; and the copies
/// that children inherited while the tree was being resumed, under the same numbers.
fn close_leftovers(root: &Root, record: &Record) -> Result<(), ParkError> {
    let mut parked = Vec::new();
    for name in record.names() {
        parked.extend(name.lives(root)?.then_some(name.pid));
    }
    let numbers: Vec<i32> = record
        .processes
        .iter()
        .filter_map(|member| member.uffd)
        .collect();
    let mut pids = parked.clone();
    for pid in &parked {
        pids.extend(
            members(root, *pid, Extent::Whole)?
                .iter()
                .map(|name| name.pid),
        );
    }
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        let held = arm::held(root, pid)?;
        let ours = parked.contains(&pid) || held.iter().any(|held| numbers.contains(held));
        if held.is_empty() || !ours {
            continue;
        }
        // The last close would make zeros of what is not back.
        if !Plan::read(root, pid)?.armed.is_empty() {
            return Err(ParkError::StillArmed { pid });
        }
        match StoppedTree::stop(root, pid, Extent::Only, STOP_TIMEOUT) {
            Err(StopError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(mut tree) => {
                for process in &mut tree.processes {
                    arm::close_all(root, process)?;
                }
            }
        }
    }
    Ok(())
}

/// Brings everything back into a tree that still stands, after parking it failed; then it runs on.
///
/// # Errors
/// As [`resume`].
pub(crate) fn undo(
    root: &Root,
    tree: StoppedTree,
    entry: &Entry,
    record: &Record,
) -> Result<(), ParkError> {
    if let Some(plan) = &record.frozen {
        plan.thaw(root)?;
    }
    let mut tree = Some(tree);
    if let Means::Store { dir } = &record.means
        && is_armed(root, record)?
    {
        let store = open_store(dir)?;
        // It stands: nothing can happen while its pages come back.
        let heirs = heirs(root, entry, record, None)?;
        from_store(&heirs, &store, &mut || Ok(()), &mut tree)?;
    }
    for process in tree.iter_mut().flat_map(|tree| &mut tree.processes) {
        arm::close_all(root, process)?;
    }
    drop(tree);
    if let Means::Store { dir } = &record.means {
        remove_store(dir)?;
    }
    Ok(())
}

/// What the pages of a space are brought back with.
struct Return<'r> {
    root: &'r Root,
    store: &'r Store,
    page_size: PageSize,
}

fn heirs<'h>(
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

/// Runs the pager until everything is back; gives the bytes. `standing`: the tree, when it stands already.
fn from_store(
    heirs: &Heirs<'_>,
    store: &Store,
    thaw: &mut dyn FnMut() -> Result<(), ParkError>,
    standing: &mut Option<StoppedTree>,
) -> Result<u64, ParkError> {
    let Heirs {
        root, page_size, ..
    } = *heirs;
    let pager = Pager::new(store, page_size, heirs.spaces()?);
    let pager = pager.map_err(|source| {
        let top = heirs.record.names().next().map_or(0, |name| name.pid);
        failed("listen to", top)(source)
    })?;
    let back = Return {
        root,
        store,
        page_size,
    };
    let outcome = pager.run(
        thaw,
        |pager, space| heirs.adopt(pager, space),
        |pager, space| match (space.pid(), &mut *standing) {
            // A child whose pages are all back: our descriptor is the only one, and goes with the pager.
            (None, _) => Ok(true),
            (Some(pid), Some(tree)) => back.release(pager, space, pid, tree),
            (Some(pid), None) => match StoppedTree::stop(root, pid, Extent::Only, STOP_TIMEOUT) {
                Err(StopError::Gone { .. }) => Ok(true),
                tree => back.release(pager, space, pid, &mut tree?),
            },
        },
    );
    let returned_bytes = pager.returned_bytes();
    let error = match outcome {
        Ok(pages) => {
            let mut pages = pages.into_iter();
            match pages.next() {
                None => return Ok(returned_bytes),
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
        let known = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pagemap = Pagemap::open(known.ok_or(ParkError::NoProcess(pid))?, self.page_size);
        let pagemap =
            pagemap.map_err(|error| failed("open the page map of", pid)(errno(&error)))?;
        let back = space.is_back(self.store, &pagemap, self.page_size.get());
        let back = back.map_err(|error| match error {
            FillError::Store(error) => error.into(),
            FillError::Kernel(errno) => failed("read the page map of", pid)(errno),
        })?;
        if !back {
            return Ok(false);
        }
        fault_point("back");
        // From here on absent pages are zeros.
        for span in Plan::read(self.root, pid)?.armed {
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
