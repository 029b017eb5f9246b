//! Resuming: a parked tree runs at once, and gets its memory back behind it.
//!
//! Whatever state a record is in, resuming goes on from there: a plimsoll that was killed while it parked, one that
//! was killed while it paged, a tree that somebody thawed under our hands.

use crate::arm;
use crate::fault_point::fault_point;
use crate::heirs::Heirs;
use crate::out::{boot_id, open_store};
use crate::pager::{Caller, FillError, Pager, Space, Unasked};
use crate::plan::Plan;
use crate::runtime::{Entry, Means, Record, Runtime, State};
use crate::session::{Guarded, Session};
use crate::store::{Place, Store};
use crate::wake::WakeOn;
use crate::{ParkError, swap};
use plimsoll_proc::Root;
use plimsoll_surgery::freeze;
use plimsoll_surgery::stop::{StopError, StoppedTree, in_own_thread};
use plimsoll_surgery::tree::{Extent, ProcessName, members};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::vm::{self, Advice};
use plimsoll_units::PageSize;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, retry_on_intr};
use serde::Serialize;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether another plimsoll is done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
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
    runtime.sweep_first_touches(|process| process.lives(root).unwrap_or(true));
    Ok(living)
}

/// Removes the stores whose processes are gone and that no record names: what is left when the host went down with
/// parked trees. One that can't be read is left alone.
///
/// # Errors
/// When records or directories can't be listed.
pub fn sweep(root: &Root, runtime: &Runtime, place: &Place) -> Result<(), ParkError> {
    let boot_id = boot_id(root)?;
    for store in place.stores()? {
        let Ok(identity) = store.identity else {
            continue;
        };
        let mut lives = false;
        for process in &identity.processes {
            let name = ProcessName {
                pid: process.pid,
                start_ticks: process.starttime,
            };
            lives |= identity.boot_id == boot_id && name.lives(root)?;
        }
        // A child may still have to come back, or another plimsoll be about to clear it away.
        let named = |record: &Record| record.means.store() == Some(&store.dir);
        let records = runtime.records()?;
        let unknown = records.iter().any(Result::is_err);
        if !lives && !unknown && !records.iter().flatten().any(named) {
            remove_store(&store.dir)?;
        }
    }
    Ok(())
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
    /// Another plimsoll brings back what it touches.
    Lazy,
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
        (State::Resuming, true) if record.lazy => Standing::Lazy,
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

/// How a tree comes back.
pub struct Manner<'m> {
    /// Whether only what is touched is brought back, until all processes have ended or another resumes the tree for good.
    /// By swap nothing else is ever done for a lazy one: the kernel brings back what is touched.
    pub lazy: bool,
    /// Called once the tree runs.
    pub running: &'m mut (dyn FnMut(&Record) + Send),
    /// Told the bytes that are back, and all.
    pub progress: &'m mut (dyn FnMut(u64, u64) + Send),
}

/// Lets the tree that `pid` belongs to run, and brings its memory back.
///
/// # Errors
/// [`ParkError::Damaged`] when stored pages can't be had: whoever touches them waits, the record and the store stay.
pub fn resume(root: &Root, runtime: &Runtime, pid: u32) -> Result<Resumed, ParkError> {
    let mut manner = Manner {
        lazy: false,
        running: &mut |_| {},
        progress: &mut |_, _| {},
    };
    resume_as(root, runtime, pid, &mut manner)
}

/// As [`resume`], in a manner of one's own.
///
/// # Errors
/// As [`resume`].
pub fn resume_as(
    root: &Root,
    runtime: &Runtime,
    pid: u32,
    manner: &mut Manner<'_>,
) -> Result<Resumed, ParkError> {
    in_own_thread(|| resume_here(root, runtime, pid, manner))
}

fn resume_here(
    root: &Root,
    runtime: &Runtime,
    pid: u32,
    manner: &mut Manner<'_>,
) -> Result<Resumed, ParkError> {
    let begun = Instant::now();
    let found = find(runtime, root, pid)?.ok_or(ParkError::NotParked(pid))?;
    let top = found
        .processes
        .first()
        .ok_or(ParkError::NotParked(pid))?
        .name;
    let entry = match runtime.lock(top)? {
        Some(entry) => entry,
        None if found.lazy && !manner.lazy => return lazy_no_more(runtime, top, found),
        None => return Err(ParkError::Busy(pid)),
    };
    // Another plimsoll may have had it between the two.
    let mut record = entry.record()?.ok_or(ParkError::NotParked(pid))?;
    let was_parked = record.state == State::Parked;
    if was_parked || record.lazy != manner.lazy {
        record.lazy = manner.lazy;
        record.state = match record.state {
            State::Parked => State::Resuming,
            state => state,
        };
        entry.write(&record)?;
        if was_parked && record.wake == WakeOn::Input {
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
        (manner.running)(&record);
        Ok(())
    };
    let all_bytes = record.moved_bytes;
    let progress = &mut manner.progress;
    let mut progress = |bytes| progress(bytes, all_bytes);
    let returned_bytes = match &record.means {
        Means::Store { dir } if is_armed(root, &record)? || is_guarded(&entry)? => {
            let store = open_store(dir)?;
            let session = Session::begin(&entry)?;
            let heirs = heirs(root, &entry, &record, Some(session.number))?;
            let bell = manner.lazy.then(|| entry.bell()).transpose()?;
            let mut course = Course {
                thaw: &mut thaw,
                progress: &mut progress,
                bell: bell.as_ref(),
                standing: None,
            };
            let returned = from_store(&heirs, &store, &mut course)?;
            session.end();
            end_guardians(root, &entry)?;
            returned
        }
        means => {
            thaw()?;
            let swapped = *means == Means::Swap && !manner.lazy;
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

/// Tells the pager that brings back only what is touched to bring back all, and waits until it has.
fn lazy_no_more(runtime: &Runtime, top: ProcessName, record: Record) -> Result<Resumed, ParkError> {
    runtime.ring(top)?;
    loop {
        match runtime.lock(top)? {
            None => std::thread::sleep(BETWEEN_LOOKS),
            Some(entry) => {
                // It has ended before it was done.
                if entry.record()?.is_some() {
                    return Err(ParkError::Busy(top.pid));
                }
                entry.remove()?;
                return Ok(Resumed {
                    record,
                    returned_bytes: 0,
                    running_after: Duration::ZERO,
                    swap_kept: None,
                });
            }
        }
    }
}

/// Waits until the bell is rung or all processes of a tree have ended.
fn until_rung(bell: &File, record: &Record) {
    let mut living: Vec<OwnedFd> = record
        .processes
        .iter()
        .filter_map(|member| arm::pidfd(member.name.pid).ok())
        .collect();
    while !living.is_empty() {
        let mut waits = vec![PollFd::new(bell, PollFlags::IN)];
        waits.extend(living.iter().map(|one| PollFd::new(one, PollFlags::IN)));
        if retry_on_intr(|| poll(&mut waits, None)).is_err() {
            return;
        }
        let mut ready = waits.iter().map(|wait| !wait.revents().is_empty());
        if ready.next() == Some(true) {
            return;
        }
        let ended: Vec<bool> = ready.collect();
        let mut ended = ended.into_iter();
        living.retain(|_| ended.next() == Some(false));
    }
}

/// Whether any process of the tree has memory that is armed: only then pages of it may be in the store alone.
fn is_armed(root: &Root, record: &Record) -> Result<bool, ParkError> {
    for name in record.names() {
        if !armed(root, name)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The mappings of a process that are armed; none of one that has ended.
fn armed(root: &Root, process: ProcessName) -> Result<Vec<Span>, ParkError> {
    if !process.lives(root)? {
        return Ok(Vec::new());
    }
    match Plan::read(root, process.pid) {
        Err(_) if !process.lives(root)? => Ok(Vec::new()), // just now
        plan => Ok(plan?.armed),
    }
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
        let mut course = Course {
            thaw: &mut || Ok(()),
            progress: &mut |_| {},
            bell: None,
            standing: tree,
        };
        from_store(&heirs, &store, &mut course)?;
        tree = course.standing;
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

/// How the pages of a store come back.
struct Course<'c> {
    thaw: &'c mut dyn FnMut() -> Result<(), ParkError>,
    progress: &'c mut dyn FnMut(u64),
    /// Only what is touched comes back, until this is rung.
    bell: Option<&'c File>,
    /// The tree, when it stands already.
    standing: Option<StoppedTree>,
}

/// Runs the pager until everything is back; gives the bytes.
fn from_store(heirs: &Heirs<'_>, store: &Store, course: &mut Course<'_>) -> Result<u64, ParkError> {
    let Heirs {
        root,
        record,
        page_size,
        ..
    } = *heirs;
    let pager = Pager::new(store, page_size, heirs.spaces()?);
    let pager = pager.map_err(|source| {
        let top = record.names().next().map_or(0, |name| name.pid);
        failed("listen to", top)(source)
    })?;
    let back = Return {
        root,
        store,
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
