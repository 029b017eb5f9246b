//! Why a tree could not be parked or resumed.

use crate::check::Hindrance;
use crate::pager::Damage;
use crate::runtime::RuntimeError;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::swap::{Budget, OwnSwapError};
use plimsoll_proc::ReadError;
use plimsoll_surgery::freeze::FreezeError;
use plimsoll_surgery::holds::LookError;
use plimsoll_surgery::operate::OperateError;
use plimsoll_surgery::stop::StopError;
use plimsoll_units::Bytes;
use rustix::io::Errno;

/// What a person can do about it: the exit codes speak in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It could not be done.
    Failed,
    /// More privilege would do it.
    NotPermitted,
    /// Something stands in the way.
    Refused,
}

/// Parking or resuming failed.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// Nobody there.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// It is parked already.
    #[error("process {0} is parked already")]
    AlreadyParked(u32),
    /// It is not parked.
    #[error("process {0} is not parked")]
    NotParked(u32),
    /// Another plimsoll is at work on the tree.
    #[error("another plimsoll is at work on process {0}")]
    Busy(u32),
    /// It was to be parked only if it sleeps.
    #[error("process {0} is at work, or sleeps on what nobody could watch for it")]
    AtWork(u32),
    /// There is nothing to gain.
    #[error("process {0} has no memory that could be parked")]
    Nothing(u32),
    /// All that stands in the way; nothing was stopped.
    #[error("it can't be parked: {}", each(.0, |hindrance| hindrance.to_string()))]
    Hindered(Vec<Hindrance>),
    /// A process can't be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// No swap, or too little.
    #[error("it takes {needed} of swap, and {budget}")]
    NoSwap {
        /// What would go.
        needed: Bytes,
        /// What there is.
        budget: Budget,
    },
    /// It handles its own page faults.
    #[error("process {pid} uses userfaultfd itself")]
    UsesUserfaultfd {
        /// Which.
        pid: u32,
    },
    /// Its memory can't be armed.
    #[error("process {pid} can't have a userfaultfd")]
    NoUserfaultfd {
        /// Which.
        pid: u32,
        /// What the kernel said.
        source: Errno,
    },
    /// A call on a process or its descriptor failed.
    #[error("cannot {operation} process {pid}")]
    Process {
        /// What was tried.
        operation: &'static str,
        /// On which.
        pid: u32,
        /// What the kernel said.
        source: Errno,
    },
    /// Somebody asked to stop.
    #[error("interrupted; everything is as it was")]
    Interrupted,
    /// Stored pages are damaged.
    #[error("a page and {others} others can't be brought back; whoever touches them waits")]
    Damaged {
        /// How many beside the first.
        others: usize,
        /// The first, and why.
        #[source]
        first: Box<Damage>,
    },
    /// Its descriptor was about to be closed, which would make zeros of pages that are not back.
    #[error("process {pid} still has memory that waits for its pages: run `plimsoll resume` again")]
    StillArmed {
        /// Which.
        pid: u32,
    },
    /// After a failure, the tree could not be put back by itself.
    #[error("parking failed ({why}), and then so did putting back: run `plimsoll resume`")]
    NotPutBack {
        /// What failed first.
        why: Box<ParkError>,
        /// What failed then.
        source: Box<ParkError>,
    },
    /// There is nobody to wake what is parked.
    #[error("there is no watcher: nothing that is parked wakes by itself")]
    NoWatcher(#[source] std::io::Error),
    /// The host has no boot id.
    #[error("cannot tell which boot this is")]
    NoBootId,
    /// A file of a process.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Stopping it.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Calls in it.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// Freezing it.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where the pages of a resuming tree are.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A swap file of our own.
    #[error(transparent)]
    OwnSwap(#[from] OwnSwapError),
    /// The records.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl ParkError {
    /// What a person can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hindered(all) if all.iter().all(|one| one.is_privilege) => Kind::NotPermitted,
            Self::Hindered(_)
            | Self::AlreadyParked(_)
            | Self::NotParked(_)
            | Self::Busy(_)
            | Self::Nothing(_)
            | Self::NoSwap { .. }
            | Self::UsesUserfaultfd { .. }
            | Self::OwnSwap(OwnSwapError::FileSystem { .. })
            | Self::Store(StoreError::NoRoom { .. } | StoreError::InMemory { .. }) => Kind::Refused,
            Self::NoUserfaultfd { .. } | Self::Operate(OperateError::Seccomp { .. }) => {
                Kind::NotPermitted
            }
            Self::Read(error) if error.is_denied() => Kind::NotPermitted,
            Self::Look(error) if error.is_denied() => Kind::NotPermitted,
            Self::Process { source, .. } if denied(*source) => Kind::NotPermitted,
            Self::Stop(StopError::Ptrace(error)) if denied(error.errno) => Kind::NotPermitted,
            _ => Kind::Failed,
        }
    }

    /// What would help, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if let Self::Hindered(all) = self {
            return Some(each(all, |hindrance| hindrance.remedy.clone()));
        }
        self.known_hint().map(str::to_owned)
    }

    fn known_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoUserfaultfd { .. } => {
                "the process needs CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1, or you the right to open /dev/userfaultfd; or park with --via swap"
            }
            Self::NoSwap { .. } => "add swap (swapon), or park with --via store",
            Self::Store(StoreError::NoRoom { .. }) => {
                "give a directory on a larger disk with --store"
            }
            Self::Store(StoreError::InMemory { .. }) => "give a directory on a disk with --store",
            Self::OwnSwap(OwnSwapError::FileSystem { .. }) => {
                "give a directory on another disk with --store, or park with --via store"
            }
            Self::OwnSwap(OwnSwapError::NoMemory { .. }) => {
                "free memory: the next plimsoll removes the swap file"
            }
            Self::Damaged { .. } => "the store is kept; the process can only be ended",
            _ if self.kind() == Kind::NotPermitted => {
                "run it as root, or with CAP_SYS_PTRACE and CAP_SYS_NICE"
            }
            _ => return None,
        })
    }
}

/// What is said of each, once.
fn each(hindrances: &[Hindrance], say: impl Fn(&Hindrance) -> String) -> String {
    let mut said: Vec<String> = hindrances.iter().map(say).collect();
    said.sort_unstable();
    said.dedup();
    said.join("; ")
}

fn denied(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS)
}
