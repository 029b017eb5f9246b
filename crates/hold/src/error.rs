//! Why a hold could not be made, shown or released.

use plimsoll_cgroup::write::ControlError;
use plimsoll_cgroup::write::site::NoSite;
use plimsoll_proc::ReadError;
use plimsoll_units::Bytes;
use std::io;
use std::path::PathBuf;

/// What kind of failure it is, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It could not be done.
    Failed,
    /// More privilege would do it.
    NotPermitted,
    /// Something stands in the way.
    Refused,
}

/// Why it was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// No hierarchy has the memory controller.
    #[error(
        "this kernel controls no memory by group: no mounted cgroup hierarchy has the memory controller"
    )]
    NoController,
    /// A name that can't be one.
    #[error(
        "{name:?} can't be a name: letters, digits, `.`, `_` and `-`, 64 at most, the first no `.` or `-`"
    )]
    BadName {
        /// As it was given.
        name: String,
    },
    /// There is one of this name.
    #[error("there is a hold named {name}")]
    Exists {
        /// Its name.
        name: String,
    },
    /// There is none of this name.
    #[error("nothing is held as {name}")]
    NoSuchHold {
        /// As it was given.
        name: String,
    },
    /// It can't be found.
    #[error("there is no {what}")]
    NoTarget {
        /// What was asked for.
        what: String,
    },
    /// The group is held already, by another name.
    #[error("{} is held already, as {name}", path.display())]
    Held {
        /// The group.
        path: PathBuf,
        /// By this name.
        name: String,
    },
    /// The topmost group is everybody's.
    #[error("the whole host can't be held")]
    WholeHost,
    /// A process under systemd that shares its unit with others.
    #[error("process {pid} shares its group, {}, with others, and under systemd nobody else moves it to one of its own", path.display())]
    Shared {
        /// The process.
        pid: u32,
        /// The group.
        path: PathBuf,
    },
    /// It holds more than it may, and the rest can't be reclaimed.
    #[error(
        "it holds {current}, and no less than that could be reclaimed: {asked} of RAM would have the kernel kill"
    )]
    TooSmall {
        /// What it holds.
        current: Bytes,
        /// What it was to be held to.
        asked: Bytes,
    },
    /// RAM of nothing.
    #[error("no RAM at all is too little")]
    NoRam,
    /// No group of our own can be made.
    #[error("no control group can be made for it")]
    NoSite(#[from] NoSite),
    /// A group refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// systemd refused.
    #[error("{command} failed: {message}")]
    Systemd {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
    /// A record can't be read or written.
    #[error("cannot {operation} {}", path.display())]
    Record {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A group can't be read.
    #[error(transparent)]
    Group(#[from] plimsoll_cgroup::Error),
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl HoldError {
    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let denied = match self {
            Self::Control(error) | Self::NoSite(NoSite::Control(error)) => error.is_denied(),
            Self::Read(error) => error.is_denied(),
            Self::Group(error) => error.is_denied(),
            Self::Record { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::NoController
            | Self::Exists { .. }
            | Self::Held { .. }
            | Self::WholeHost
            | Self::Shared { .. }
            | Self::TooSmall { .. }
            | Self::NoSite(_) => return Kind::Refused,
            _ => false,
        };
        if denied {
            Kind::NotPermitted
        } else {
            Kind::Failed
        }
    }

    /// What could be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            _ if self.kind() == Kind::NotPermitted => {
                "run it as root, or where a control group with the memory controller was delegated to you \
                 (systemd: `systemd-run --user --scope -p Delegate=yes`)"
            }
            Self::Shared { .. } => {
                "start it with `plimsoll run`, or hold the whole unit by its name"
            }
            Self::TooSmall { .. } => {
                "give it more RAM, or take it out of memory first: plimsoll park PID"
            }
            Self::NoSite(NoSite::Limited { .. } | NoSite::Occupied { .. }) => {
                "hold that group itself: plimsoll hold PATH"
            }
            Self::NoController => "boot without cgroup_disable=memory, and mount cgroup2",
            Self::Exists { .. } => "plimsoll holds shows it, plimsoll release ends it",
            Self::NoSuchHold { .. } => "plimsoll holds shows what is held",
            _ => return None,
        })
    }
}
