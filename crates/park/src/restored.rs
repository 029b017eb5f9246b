//! Trees that a restore has made, whose memory comes later: armed like those that were parked, and brought back by the same
//! pager, out of the images.
//!
//! ```text
//! arm      every process, while it is held and has only what it needs at once
//! promise  the record is written: from here on any plimsoll can bring the memory back
//!          (the tree is let go)
//! keep     the pager listens, and ends when all is there
//! ```
//!
//! Whoever touches a page between the two last steps waits. A restore that is killed before its tree is let go takes the tree
//! with it, and the record of a tree that has ended is cleared away by the next plimsoll ([`crate::known`]).

pub use crate::arm::HIGH as HIGH_NUMBERS;
use crate::back::{Manner, Ours, Resumed, serve};
use crate::runtime::{Means, Member, Record, Runtime, State, VERSION};
use crate::source::{Images, Source, SourceError};
use crate::wake::{Waits, WakeOn};
use crate::{ParkError, arm as armed, known};
use plimsoll_proc::Root;
use plimsoll_surgery::stop::in_own_thread;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::Span;
use plimsoll_sys::uffd::Modes;
use std::path::Path;
use std::time::{Instant, SystemTime};

/// A tree whose memory somebody has to bring.
pub struct Promised(Ours);

impl std::fmt::Debug for Promised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Promised").field(&self.0.record).finish()
    }
}

/// A process that a restore has made.
#[derive(Debug, Clone)]
pub struct Bare {
    /// Which process.
    pub name: ProcessName,
    /// What it calls itself.
    pub comm: String,
    /// The number of the userfaultfd that it has made for us in its descriptor table, where some of its memory comes later.
    pub uffd: Option<i32>,
}

/// Arms whole mappings of a process. From here on who touches a page of them that is absent waits: also the kernel, and we.
///
/// # Errors
/// [`ParkError::NoUserfaultfd`], or [`ParkError::Process`] when a mapping can't be armed.
pub fn arm(process: &Bare, spans: &[Span]) -> Result<(), ParkError> {
    let pid = process.name.pid;
    let Some(number) = process.uffd else {
        return Ok(());
    };
    let uffd = armed::take(pid, number)?;
    for span in spans {
        let registered = uffd.register(*span, Modes::MISSING);
        registered.map_err(|source| ParkError::Process {
            operation: "arm memory of",
            pid,
            source,
        })?;
    }
    Ok(())
}

/// Writes down that the memory of these processes, the root of the tree first, is in a set of images, and makes sure
/// that it can be had.
///
/// # Errors
/// When the images can't be read, or the record can't be written.
pub fn promise(
    root: &Root,
    runtime: &Runtime,
    images: &Path,
    processes: &[Bare],
) -> Result<Promised, ParkError> {
    known::living(runtime, root)?; // what is left of trees that have ended goes
    let path = |source| {
        SourceError::from(crate::source::ImagesError::Io {
            operation: "find",
            path: images.to_owned(),
            source,
        })
    };
    let dir = images.canonicalize().map_err(path)?;
    let pids = processes.iter().map(|process| process.name.pid);
    let source = Images::open(&dir, pids).map_err(SourceError::from)?;
    let print = Images::print(&dir).map_err(SourceError::from)?;
    let top = processes.first().ok_or(ParkError::NoProcess(0))?.name;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let member = |process: &Bare| Member {
        name: process.name,
        comm: process.comm.clone(),
        uffd: process.uffd,
        huge: Vec::new(),
    };
    let record = Record {
        version: VERSION,
        state: State::Resuming,
        lazy: false,
        means: Means::Images { dir, print },
        since_s: since.map_or(0, |since| since.as_secs()),
        frozen: None,
        processes: processes.iter().map(member).collect(),
        children: Vec::new(),
        moved_bytes: source.bytes(),
        copies_bytes: 0,
        stored_bytes: source.bytes(),
        wake: WakeOn::default(),
        waits: Waits::default(),
    };
    let entry = runtime.lock(top)?.ok_or(ParkError::Busy(top.pid))?;
    entry.write(&record)?;
    Ok(Promised(Ours {
        entry,
        record,
        source: Some(Source::Images(source)),
    }))
}

impl Promised {
    /// How much is yet to come, of all processes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.record.moved_bytes
    }

    /// The tree was never let go: nobody will ask.
    ///
    /// # Errors
    /// When the record can't be removed.
    pub fn withdraw(self) -> Result<(), ParkError> {
        Ok(self.0.entry.remove()?)
    }

    /// Brings everything back into the tree, which runs.
    ///
    /// # Errors
    /// [`ParkError::Damaged`] when pages can't be had: whoever touches them waits, and the record stays.
    pub fn keep(
        self,
        root: &Root,
        runtime: &Runtime,
        manner: &mut Manner<'_>,
    ) -> Result<Resumed, ParkError> {
        in_own_thread(|| serve(root, runtime, self.0, manner, Instant::now()))
    }
}
