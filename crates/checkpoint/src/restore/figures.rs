//! What a restore came to: the file `stats-restore`, as CRIU's callers look for it.

use crate::error::Error;
use plimsoll_image::Kind;
use plimsoll_image::proto::{RestoreStatsEntry, StatsEntry};
use std::path::Path;
use std::time::Duration;

/// Figures of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Pages that the images have for the processes' private memory, those that come later left out.
    pub pages: u64,
    /// Until its first process was there.
    pub first_process: Duration,
    /// All of it.
    pub took: Duration,
}

impl Figures {
    /// Writes them to `stats-restore` in a directory. Times are in microseconds there. Which pages relatives share is known from
    /// the images here, so that none is said to be compared, or skipped after that.
    ///
    /// # Errors
    /// As a file can't be written.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join("stats-restore");
        let microseconds = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let figures = StatsEntry {
            restore: Some(RestoreStatsEntry {
                pages_compared: 0,
                pages_skipped_cow: 0,
                forking_time: microseconds(self.first_process),
                restore_time: microseconds(self.took),
                pages_restored: Some(self.pages),
            }),
            dump: None,
        };
        let bytes = plimsoll_image::write_all(Kind::Stats, &[figures.into()])
            .map_err(|source| Error::image(&path, source))?;
        std::fs::write(&path, bytes).map_err(|source| Error::file("write", path, source))
    }
}
