//! One walk over all processes, for everything that is asked of each.
//!
//! Each process is opened once (`/proc/PID`) and its `status` read once; whoever wants more reads on in the open
//! directory, so that a pid given to another process meanwhile can't mix two of them.

use super::{Malformed, status::Status};
use crate::text;
use crate::{Dir, ReadError, Root};
use std::ffi::OsStr;

/// A process on the way.
#[derive(Debug)]
pub struct Process<'r> {
    /// Its directory.
    pub dir: Dir<'r>,
    /// Its `status`.
    pub status: Status,
}

/// Why a process that lives could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A file of it can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file of it makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Unreadable {
    /// Whether it ended meanwhile.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_gone())
    }
}

/// The pids of all processes that the reader may see, ascending.
///
/// # Errors
/// When `/proc` can't be listed.
pub fn pids(root: &Root) -> Result<Vec<u32>, ReadError> {
    let names = root.list("proc")?;
    let mut pids: Vec<u32> = names
        .iter()
        .filter_map(|name| u32::try_from(text::number(name.as_encoded_bytes())?).ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Visits every process, ascending by pid. One that ends before its `status` was read is passed over; one that lived
/// through the read never is.
///
/// # Errors
/// When `/proc` can't be listed; what a single process refuses is told to `visit`.
pub fn walk<'r>(
    root: &'r Root,
    mut visit: impl FnMut(u32, Result<Process<'r>, Unreadable>),
) -> Result<(), ReadError> {
    let mut buffer = Vec::new();
    for pid in pids(root)? {
        match Process::open(root, pid, &mut buffer) {
            Err(error) if error.is_gone() => {}
            process => visit(pid, process),
        }
    }
    Ok(())
}

impl<'r> Process<'r> {
    fn open(root: &'r Root, pid: u32, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        let dir = root.open_dir(format!("proc/{pid}"))?;
        Self::in_dir(dir, buffer)
    }

    fn in_dir(dir: Dir<'r>, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        dir.read_into(OsStr::new("status"), buffer)?;
        let status = Status::parse(buffer)?;
        Ok(Self { dir, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_mixed_up() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let root = Root::live();
        let dir = root.open_dir(format!("proc/{}", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let error = Process::in_dir(dir, &mut Vec::new()).unwrap_err();
        assert!(error.is_gone());
    }
}
