//! Resuming: a parked tree runs at once, and gets its memory back behind it.
//!
//! Whatever state a record is in, resuming goes on from there: a plimsoll that was killed while it parked, one that
//! was killed while it paged, a tree that somebody thawed under our hands.

mod lazy;
mod leftovers;
mod pages;

use self::lazy::lazy_no_more;
use self::leftovers::{close_leftovers, is_armed, is_guarded};
use self::pages::{Course, from_source, heirs};
use crate::fault_point::fault_point;
use crate::known::{end_guardians, find, forget, remove_store};
use crate::out::open_store;
use crate::pager::Room;
use crate::runtime::{Entry, Means, Record, Runtime, State};
use crate::session::Session;
use crate::source::{Images, ImagesError, Source, SourceError};
use crate::wake::WakeOn;
use crate::{ParkError, arm, swap};
use plimsoll_proc::Root;
use plimsoll_surgery::stop::{StoppedTree, in_own_thread};
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

/// How a tree comes back.
pub struct Manner<'m> {
    /// Whether only what is touched is brought back, until all processes have ended or another resumes the tree for good.
    /// By swap nothing else is ever done for a lazy one: the kernel brings back what is touched.
    pub lazy: bool,
    /// What is not touched waits while there is none; `None`: it does not wait. By swap this says nothing.
    pub room: Option<Room<'m>>,
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
        room: None,
        running: &mut |_| {},
        progress: &mut |_, _| {},
    };
    resume_as(root, runtime, pid, &mut manner)
}

/// As [`resume`], for a tree that somebody wants something of: what it does not touch comes back when there is room in memory.
///
/// # Errors
/// As [`resume`].
pub fn wake(root: &Root, runtime: &Runtime, pid: u32) -> Result<Resumed, ParkError> {
    let mut manner = Manner {
        lazy: false,
        room: Some(Room::of(root)),
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
    let record = entry.record()?.ok_or(ParkError::NotParked(pid))?;
    let source = source(root, &entry, &record)?;
    serve(
        root,
        runtime,
        Ours {
            entry,
            record,
            source,
        },
        manner,
        begun,
    )
}

/// A tree that is ours to bring back.
pub(crate) struct Ours {
    pub(crate) entry: Entry,
    pub(crate) record: Record,
    /// Where its pages are, if any may still have to come from there.
    pub(crate) source: Option<Source>,
}

/// Where the pages of a tree are, if any may still have to come from there.
fn source(root: &Root, entry: &Entry, record: &Record) -> Result<Option<Source>, ParkError> {
    if record.means == Means::Swap || !(is_armed(root, record)? || is_guarded(entry)?) {
        return Ok(None);
    }
    match &record.means {
        Means::Swap => Ok(None),
        Means::Store { dir } => Ok(Some(Source::Store(Box::new(open_store(dir)?)))),
        Means::Images { dir, print } => {
            let pids = record.processes.iter().map(|member| member.name.pid);
            let images = Images::open(dir, pids).and_then(|images| {
                let path = dir.clone();
                let same = Images::print(dir)? == *print;
                same.then_some(images).ok_or(ImagesError::Changed { path })
            });
            Ok(Some(Source::Images(images.map_err(SourceError::from)?)))
        }
    }
}

/// Lets a tree run and brings its memory back, or leaves it to be taken up again.
pub(crate) fn serve(
    root: &Root,
    runtime: &Runtime,
    ours: Ours,
    manner: &mut Manner<'_>,
    begun: Instant,
) -> Result<Resumed, ParkError> {
    let Ours {
        entry,
        mut record,
        source,
    } = ours;
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
    let returned_bytes = match &source {
        Some(source) => {
            let session = Session::begin(&entry)?;
            let heirs = heirs(root, &entry, &record, Some(session.number))?;
            let bell = manner.lazy.then(|| entry.bell()).transpose()?;
            let mut course = Course {
                thaw: &mut thaw,
                progress: &mut progress,
                bell: bell.as_ref(),
                room: manner.room.take(),
                standing: None,
            };
            let returned = from_source(&heirs, source, &mut course)?;
            session.end();
            end_guardians(root, &entry)?;
            returned
        }
        None => {
            thaw()?;
            let swapped = record.means == Means::Swap && !manner.lazy;
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
        let source = Source::Store(Box::new(open_store(dir)?));
        // It stands: nothing can happen while its pages come back.
        let heirs = heirs(root, entry, record, None)?;
        let mut course = Course {
            thaw: &mut || Ok(()),
            progress: &mut |_| {},
            bell: None,
            room: None,
            standing: tree,
        };
        from_source(&heirs, &source, &mut course)?;
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
