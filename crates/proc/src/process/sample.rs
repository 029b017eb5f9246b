//! The cheap tier: every process with its exact resident sizes, and no walk of page tables.
//!
//! Three small files a process: `status`, which the [walk](super::walk) has read, `cgroup` and `cmdline`.

use super::walk::{Process, walk};
use super::{cgroup, cmdline, status::Status};
use crate::text;
use crate::{ReadError, Root};
use std::ffi::OsStr;

pub use super::walk::{Unreadable, pids};

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

/// Every process, and those that could not be read though they live.
#[derive(Debug, Default)]
pub struct Samples {
    /// Ascending by pid.
    pub processes: Vec<Sample>,
    /// Pid and reason.
    pub failed: Vec<(u32, Unreadable)>,
    /// What files are read into.
    buffer: Vec<u8>,
}

/// Samples every process.
///
/// # Errors
/// When `/proc` can't be listed; what a single process refuses is in [`Samples::failed`].
pub fn all(root: &Root) -> Result<Samples, ReadError> {
    let mut samples = Samples::default();
    walk(root, |pid, process| samples.take(pid, process))?;
    Ok(samples)
}

impl Samples {
    /// Samples what a walk came by.
    pub fn take(&mut self, pid: u32, process: Result<Process<'_>, Unreadable>) {
        match process {
            Ok(process) => self.processes.push(Sample::read(process, &mut self.buffer)),
            Err(error) => self.failed.push((pid, error)),
        }
    }
}

/// A command line may be megabytes; people read its beginning.
const CMDLINE_LIMIT: u64 = 1024;

impl Sample {
    /// Reads what `status` does not tell. What a process lacks is left empty: one in exit loses its command line and its
    /// group before it is gone.
    fn read(Process { dir, status }: Process<'_>, text: &mut Vec<u8>) -> Self {
        let group = dir.read_into(OsStr::new("cgroup"), text);
        let cgroup = group.ok().and_then(|()| cgroup::memory(text));
        let cgroup = cgroup.map(|group| group.path.to_vec()).unwrap_or_default();
        let mut command = None;
        if status.vm.is_some() {
            let line = dir.read_start(OsStr::new("cmdline"), CMDLINE_LIMIT, text);
            command = line.ok().and_then(|()| cmdline::shown(text));
        }
        Self {
            cgroup,
            command: command.unwrap_or_else(|| format!("[{}]", text::printable(&status.name))),
            status,
        }
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
}
