//! Small files that are only ever there as a whole.

use super::RuntimeError;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A small file that is only ever there as a whole.
#[derive(Debug)]
pub(crate) struct RecordFile(PathBuf);

impl RecordFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes it, or replaces it.
    pub(crate) fn write(&self, content: &impl Serialize) -> Result<(), RuntimeError> {
        let new = self.0.with_added_extension("new");
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let text = serde_json::to_vec(content).map_err(RuntimeError::new("write", &new))?;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR);
        let mut file = file
            .map(File::from)
            .map_err(RuntimeError::new("make", &new))?;
        file.write_all(&text)
            .map_err(RuntimeError::new("write", &new))?;
        std::fs::rename(&new, &self.0).map_err(RuntimeError::new("rename", &new))
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, RuntimeError> {
        let text = std::fs::read(&self.0).map_err(RuntimeError::new("read", &self.0))?;
        serde_json::from_slice(&text).map_err(RuntimeError::new("understand", &self.0))
    }

    /// What it says; `None` where there is none.
    pub(crate) fn read_if_there<T: DeserializeOwned>(&self) -> Result<Option<T>, RuntimeError> {
        match self.read() {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
}

/// The files of a tree whose names begin like this, in order of number; none of a tree that nothing is known of any more.
pub(super) fn numbered<T: DeserializeOwned>(
    dir: &Path,
    prefix: &str,
) -> Result<Vec<T>, RuntimeError> {
    let failed = || RuntimeError::new("list", dir);
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    for entry in entries {
        let name = entry.map_err(failed())?.file_name();
        let name = name.to_str().unwrap_or_default();
        let number = name.strip_prefix(prefix).unwrap_or_default();
        let numbers: Result<Vec<u64>, _> = number.split('.').map(str::parse).collect();
        if let Ok(numbers) = numbers {
            names.push((numbers, name.to_owned()));
        }
    }
    names.sort_unstable();
    let read = |(_, name)| RecordFile(dir.join(name)).read_if_there().transpose();
    names.into_iter().filter_map(read).collect()
}
