//! Reads observations: the host's files, every workload's, and what stands still, through descriptors and into memory that were
//! there before. Nothing here allocates after [`Watch::open`]; a group or process that appears is opened into a place that waits
//! for it.
//!
//! Most of the time only the host is looked at ([`Watch::glance`]); a whole look costs a few files for each workload, and a
//! survey, which finds what has come and gone, one for each process.

mod census;
mod groups;
mod hits;
mod holds;
mod host;
mod locks;
mod number;
mod path;
mod stopped;

pub use stopped::{Stopped, all, mark, unmark};

use crate::decider::MOST_WORKLOADS;
use crate::hand::crew::CREW;
use crate::observation::{Id, Observation, Outcome};
use census::Census;
use groups::Groups;
use holds::Holds;
use host::HostFiles;
use locks::Locks;
use plimsoll_cgroup::mount::Hierarchy;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::path::Path;
use stopped::StoppedDir;

/// Room for the longest file that is read: `/proc/locks` of a busy server, `cgroup.procs` of a large group.
const BUFFER_BYTES: usize = 256 << 10;

/// Everything that is kept open.
#[derive(Debug)]
pub struct Watch {
    host: HostFiles,
    groups: Groups,
    holds: Holds,
    census: Census,
    locks: Locks,
    stopped: StoppedDir,
    buffer: Vec<u8>,
    seen: Observation,
    surveyed_ms: Option<u64>,
    /// There was a survey since locks were read last.
    locks_are_due: bool,
}

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// `/proc` can't be read.
    #[error("cannot read /proc")]
    Proc(#[source] Errno),
    /// The control groups can't be read.
    #[error("cannot read control groups")]
    Groups(#[from] plimsoll_cgroup::Error),
    /// The directory that says what stands still can't be had.
    #[error("cannot use {}", .0.display())]
    Stopped(std::path::PathBuf, #[source] std::io::Error),
}

impl Watch {
    /// Opens what is always there. `hierarchy` is that of the memory controller, where there is one; `run` the guard's own
    /// directory, `parked` that of parked trees' records, `holds` that of holds'.
    ///
    /// # Errors
    /// When there is no `/proc`, or one of the directories can't be had.
    pub fn open(
        hierarchy: Option<&Hierarchy>,
        run: &Path,
        parked: &Path,
        holds: Option<&Path>,
    ) -> Result<Self, WatchError> {
        let host = HostFiles::open().map_err(WatchError::Proc)?;
        let groups = Groups::open(hierarchy)?;
        let census = Census::open().map_err(WatchError::Proc)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        Ok(Self {
            host,
            groups,
            holds: Holds::open(hierarchy, holds),
            census,
            locks: Locks::open(&mut buffer),
            stopped: StoppedDir::open(run, parked)?,
            buffer,
            seen: Observation {
                workloads: Vec::with_capacity(MOST_WORKLOADS),
                outcomes: Vec::with_capacity(16),
                ..Observation::default()
            },
            surveyed_ms: None,
            locks_are_due: false,
        })
    }

    /// These processes are the guard's own, and nothing is done to them.
    pub fn spare(&mut self, pid: u32) {
        self.census.spare(pid);
    }

    /// Looks at the host alone.
    pub fn glance(&mut self) -> &Observation {
        self.begin(true);
        &self.seen
    }

    /// Looks at everything; surveys, too, where the last survey is longer ago than `survey_ms`. What is `under_way` with a
    /// workload may have been noted and not yet be so.
    pub fn look(&mut self, survey_ms: u64, under_way: [Option<Id>; CREW]) -> &Observation {
        self.begin(false);
        let now = self.seen.at_ms;
        let old = self
            .surveyed_ms
            .is_none_or(|then| now.saturating_sub(then) >= survey_ms);
        self.stopped.read(under_way);
        if old {
            self.surveyed_ms = Some(now);
            self.groups.survey(&mut self.buffer);
            self.holds.survey(&mut self.buffer);
            self.census
                .survey(&mut self.groups, &self.seen.host, &mut self.buffer);
            self.locks.tell(&mut self.groups, &mut self.census);
            self.locks_are_due = true;
        }
        self.holds.read(&mut self.buffer);
        self.groups.read(
            &mut self.buffer,
            &self.stopped,
            &self.holds,
            &mut self.seen.workloads,
        );
        self.census
            .read(&mut self.buffer, &self.stopped, &mut self.seen.workloads);
        &self.seen
    }

    /// What takes its time and is for the looks that come: who holds locks, once a survey. For when all acts of a look have been
    /// handed out.
    pub fn look_further(&mut self) {
        if std::mem::take(&mut self.locks_are_due) {
            self.locks.read(&mut self.buffer);
            self.locks.tell(&mut self.groups, &mut self.census);
        }
    }

    /// The last observation.
    #[must_use]
    pub const fn seen(&self) -> &Observation {
        &self.seen
    }

    /// Hands over what has become of acts; it is part of the next look.
    pub fn hear(&mut self, outcome: Outcome) {
        if self.seen.outcomes.len() < self.seen.outcomes.capacity() {
            self.seen.outcomes.push(outcome);
        }
    }

    /// The last observation has been decided on: what it said of acts is known.
    pub fn forget_outcomes(&mut self) {
        self.seen.outcomes.clear();
    }

    /// Where a group of the last survey lies below the mount point, as bytes.
    #[must_use]
    pub fn path_of(&self, inode: u64) -> Option<&OsStr> {
        self.groups.path_of(inode)
    }

    fn begin(&mut self, glance: bool) {
        self.seen.at_ms = now_ms();
        self.seen.glance = glance;
        // After a glance the workloads are still those of the last look, for who asks how things stand.
        if !glance {
            self.seen.workloads.clear();
        }
        self.host.read(&mut self.buffer, &mut self.seen.host);
    }
}

/// Milliseconds since boot, suspended time included: no clock step changes it.
#[must_use]
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanoseconds / 1_000_000)
}
