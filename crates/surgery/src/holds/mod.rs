//! What a process holds: its memory mapping by mapping and page by page, its descriptors by kind, and whatever
//! stands in the way of surgery. Nothing is stopped while looking, so a running process may have changed when it is.

mod descriptors;
mod mappings;
mod obstacles;

pub use descriptors::{Descriptor, Kind as DescriptorKind};
pub use mappings::{Kind as MappingKind, Mapping, Pages, Traits};
pub use obstacles::Obstacle;

use crate::freeze;
use crate::tree::ProcessName;
use plimsoll_proc::process::Malformed;
use plimsoll_proc::process::smaps::{self, StreamError};
use plimsoll_proc::process::status::Status;
use plimsoll_proc::{ReadError, Root};
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_units::PageSize;
use rustix::io::Errno;

/// A process, looked at.
#[derive(Debug)]
pub struct Holds {
    /// Which.
    pub name: ProcessName,
    /// What it calls itself, what it may do, how many threads it has.
    pub status: Status,
    /// Its mappings, ascending.
    pub mappings: Vec<Mapping>,
    /// Its descriptors, ascending.
    pub descriptors: Vec<Descriptor>,
    /// All that stands in the way.
    pub obstacles: Vec<Obstacle>,
}

/// A process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A file of `/proc` can't be read: gone, or not ours to read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// `smaps` broke off.
    #[error("cannot read the mappings of process {pid}")]
    Mappings {
        /// Which process.
        pid: u32,
        /// Why.
        #[source]
        source: StreamError,
    },
    /// Its page tables could not be read.
    #[error("cannot read the page map of process {pid}")]
    Pagemap {
        /// Which process.
        pid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Holds {
    /// Looks at a process. What can be found out is, also where some of it is denied: the denial is an
    /// [`Obstacle`] then.
    ///
    /// # Errors
    /// [`LookError`] when it is gone, or a file makes no sense.
    pub fn look(root: &Root, name: ProcessName, page_size: PageSize) -> Result<Self, LookError> {
        let pid = name.pid;
        let status = Status::parse(&root.read(format!("proc/{pid}/status"))?)?;
        let mut obstacles = obstacles::of_status(root, &status);
        obstacles.extend(freeze::is_frozen(root, pid)?.then_some(Obstacle::Frozen));
        let mut mappings = Vec::new();
        let mut descriptors = Vec::new();
        match count_mappings(root, pid, page_size) {
            Ok(read) => mappings = read,
            Err(error) if error.is_denied() => obstacles.push(Obstacle::Denied),
            Err(error) => return Err(error),
        }
        match descriptors::read(root, pid) {
            Ok(read) => descriptors = read,
            Err(error) if error.is_denied() => obstacles.push(Obstacle::Denied),
            Err(error) => return Err(error.into()),
        }
        obstacles.extend(obstacles::of_image(root, pid));
        obstacles.extend(obstacles::of_mappings(&mappings));
        obstacles.extend(obstacles::of_descriptors(&descriptors, &mappings));
        obstacles.dedup();
        Ok(Self {
            name,
            status,
            mappings,
            descriptors,
            obstacles,
        })
    }
}

/// The mappings of a process, ascending; their pages are not counted.
///
/// # Errors
/// When `smaps` can't be read.
pub fn mappings(root: &Root, pid: u32) -> Result<Vec<Mapping>, LookError> {
    let dir = root.open_dir(format!("proc/{pid}"))?;
    let mut mappings = Vec::new();
    let visit = |smap: &smaps::Smap<'_>| mappings.push(Mapping::of(smap));
    smaps::stream_file(&dir, &mut Vec::new(), visit)
        .map_err(|source| LookError::Mappings { pid, source })?;
    Ok(mappings)
}

fn count_mappings(root: &Root, pid: u32, page_size: PageSize) -> Result<Vec<Mapping>, LookError> {
    let mut mappings = mappings(root, pid)?;
    let failed = |source| LookError::Pagemap { pid, source };
    let raw = name_to_pid(pid).ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let pagemap = Pagemap::open(raw, page_size).map_err(failed)?;
    for mapping in &mut mappings {
        mapping
            .count(&pagemap)
            .map_err(|errno| failed(errno.into()))?;
    }
    Ok(mappings)
}

fn name_to_pid(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

impl LookError {
    /// Whether the process has ended, or has given up its memory on the way there: a normal outcome, not a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Read(error) => error.is_gone(),
            Self::Mappings { source, .. } => source.is_gone(),
            Self::Pagemap { source, .. } => {
                let errno = Errno::from_io_error(source);
                matches!(errno, Some(Errno::SRCH | Errno::NOENT))
            }
            Self::Malformed(_) => false,
        }
    }

    /// Whether more privilege would do.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let kind = std::io::ErrorKind::PermissionDenied;
        match self {
            Self::Read(error) => error.is_denied(),
            Self::Pagemap { source, .. } => source.kind() == kind,
            Self::Mappings { source, .. } => match source {
                StreamError::Open(error) => error.is_denied(),
                StreamError::Read(error) => error.kind() == kind,
                StreamError::Malformed(_) => false,
            },
            Self::Malformed(_) => false,
        }
    }
}
