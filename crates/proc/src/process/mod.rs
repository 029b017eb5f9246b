//! Readers of `/proc/PID`: one module a file, named after it (`proc_pid_*(5)`,
//! `Documentation/filesystems/proc.rst`).
//!
//! Each module has the parser, bytes in and typed struct out, and nothing that reads. All are written for
//! what another user's process can put into these files: names with any byte in them, mappings of files
//! whose names look like the kernel's own, lines longer than expected. Read through a
//! [`crate::Dir`] of the process: a pid may be given to another at any time, an open directory may not.

pub mod cgroup;
pub mod cmdline;
pub mod fanotify;
pub mod fdinfo;
pub mod map_name;
pub mod mappings;
pub mod maps;
pub mod sample;
pub mod smaps;
pub mod smaps_rollup;
pub mod stat;
pub mod status;
pub mod vm_flags;
pub mod walk;

use crate::text;

/// A line or file that is not what its name promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: cannot make sense of \"{text}\"")]
pub struct Malformed {
    /// The file's name in `/proc/PID`.
    pub file: &'static str,
    /// The beginning of what was found, made printable.
    pub text: String,
}

impl Malformed {
    pub(crate) fn new(file: &'static str, found: &[u8]) -> Self {
        const SHOWN: usize = 80;
        let shown = found.get(..SHOWN).unwrap_or(found);
        Self {
            file,
            text: text::printable(shown).into_owned(),
        }
    }
}
