//! The cheap tier: every process with its exact resident sizes, and no walk of page tables.
//!
//! Three small files a process (`status`, `cgroup`, `cmdline`), read in one open directory, so that a pid
//! given to another process meanwhile can't mix two of them. A process that ends before its `status` was
//! read is left out; one that lived through the read never is.

use super::{Malformed, cgroup, cmdline, status::Status};
use crate::text;
use crate::{Dir, ReadError, Root};
use std::ffi::OsStr;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its `status`.
    pub status: Status,
    /// Path of the cgroup that its memory is charged to; any bytes.
    pub cgroup: Vec<u8>,
    /// Its command line, shortened, or its name in brackets where it has none.
    pub command: String,
}

/// Why a process that lives could not be sampled.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A file of it can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file of it makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Every process, and those that could not be read though they live.
#[derive(Debug, Default)]
pub struct Samples {
    /// Ascending by pid.
    pub processes: Vec<Sample>,
    /// Pid and reason.
    pub failed: Vec<(u32, SampleError)>,
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

/// Samples every process.
///
/// # Errors
/// When `/proc` can't be listed; what a single process refuses is in [`Samples::failed`].
pub fn all(root: &Root) -> Result<Samples, ReadError> {
    let mut samples = Samples::default();
    let mut buffer = Vec::new();
    for pid in pids(root)? {
        let sample = root
            .open_dir(format!("proc/{pid}"))
            .map_err(SampleError::from)
            .and_then(|dir| Sample::read(&dir, &mut buffer));
        match sample {
            Ok(sample) => samples.processes.push(sample),
            Err(SampleError::Read(error)) if error.is_gone() => {}
            Err(error) => samples.failed.push((pid, error)),
        }
    }
    Ok(samples)
}

/// A command line may be megabytes; people read its beginning.
const CMDLINE_LIMIT: u64 = 1024;

impl Sample {
    /// Samples the process whose directory this is. `buffer` is kept by the caller for the next.
    ///
    /// # Errors
    /// When its `status` can't be read: gone, for one. What else it lacks is left empty, since a process
    /// in exit loses its command line and its group before it is gone.
    pub fn read(dir: &Dir<'_>, buffer: &mut Vec<u8>) -> Result<Self, SampleError> {
        dir.read_into(OsStr::new("status"), buffer)?;
        let status = Status::parse(buffer)?;
        let group = dir.read_into(OsStr::new("cgroup"), buffer);
        let cgroup = group.ok().and_then(|()| cgroup::memory(buffer));
        let cgroup = cgroup.map(|group| group.path.to_vec()).unwrap_or_default();
        let mut command = None;
        if status.vm.is_some() {
            let line = dir.read_start(OsStr::new("cmdline"), CMDLINE_LIMIT, buffer);
            command = line.ok().and_then(|()| cmdline::shown(buffer));
        }
        Ok(Self {
            cgroup,
            command: command.unwrap_or_else(|| format!("[{}]", text::printable(&status.name))),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_own_process_is_among_them() {
        let samples = all(&Root::live()).unwrap();
        let me = samples
            .processes
            .iter()
            .find(|s| s.status.pid == std::process::id());
        let me = me.expect("a process that reads lives through its read");
        assert!(me.status.vm.unwrap().rss_anon.unwrap().0 > 0);
        assert!(!me.cgroup.is_empty() && me.command.contains("plimsoll"));
        assert!(samples.processes.is_sorted_by_key(|s| s.status.pid));
    }

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
        let Err(SampleError::Read(error)) = Sample::read(&dir, &mut Vec::new()) else {
            panic!("read a process that has ended");
        };
        assert!(error.is_gone());
    }
}
