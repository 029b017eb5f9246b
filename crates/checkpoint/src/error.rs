//! What can go wrong, told with what was tried and on whom.

use plimsoll_image::ImageError;
use plimsoll_proc::ReadError;
use plimsoll_surgery::holds::LookError;
use plimsoll_surgery::operate::OperateError;
use plimsoll_surgery::stop::StopError;
use rustix::io::Errno;
use rustix::process::Pid;
use std::path::PathBuf;

/// Why a tree could not be checkpointed or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something stands in the way that could be known beforehand. Nothing was stopped or made.
    #[error("{}", crate::obstacle::list(.0))]
    Refused(Vec<crate::Obstacle>),
    /// There is no such process.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// It could not be brought to a stand; it runs on.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// It could not execute a call for us.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// An image makes no sense, or can't be made.
    #[error("{} is no image to go by", path.display())]
    Image {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// Images that don't fit each other: which, and how.
    #[error("the images don't fit each other: {0}")]
    Inconsistent(String),
    /// A step failed.
    #[error("cannot {operation} of task {tid}")]
    Task {
        /// What was tried.
        operation: &'static str,
        /// Of which thread.
        tid: i32,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Memory that comes later can't be promised.
    #[error(transparent)]
    Later(#[from] plimsoll_park::ParkError),
    /// A file can't be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// An error of a file.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::File {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    /// One thing that stands in the way.
    pub(crate) fn refused(obstacle: crate::Obstacle) -> Self {
        Self::Refused(vec![obstacle])
    }

    /// An error of an image.
    pub(crate) fn image(path: impl Into<PathBuf>, source: ImageError) -> Self {
        Self::Image {
            path: path.into(),
            source,
        }
    }

    /// Images that don't fit each other.
    pub(crate) fn inconsistent(what: impl Into<String>) -> Self {
        Self::Inconsistent(what.into())
    }
}

/// What is about to be tried on whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    operation: &'static str,
    tid: i32,
}

impl Step {
    pub(crate) fn new(operation: &'static str, tid: Pid) -> Self {
        Self {
            operation,
            tid: tid.as_raw_pid(),
        }
    }

    pub(crate) fn failed(
        self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Task {
            operation: self.operation,
            tid: self.tid,
            source: error.into(),
        }
    }

    pub(crate) fn errno(self, errno: Errno) -> Error {
        self.failed(std::io::Error::from(errno))
    }
}
