//! What processes touched first: nothing but a hint, so whatever is wrong with it, it is as if there were none.

use super::{Entry, Runtime, directory_name, process_of};
use crate::pager::{FirstTouches, Touch};
use plimsoll_surgery::tree::ProcessName;
use std::io;
use std::os::unix::fs::DirBuilderExt;

impl Entry {
    /// That of a process; nothing where it was never resumed.
    #[must_use]
    pub fn first_touches(&self, process: ProcessName) -> FirstTouches {
        let text = std::fs::read(self.touched.join(directory_name(process)));
        let touches = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        FirstTouches::new(touches.unwrap_or_default())
    }

    /// Keeps it for the next time.
    pub fn keep_first_touches(&self, process: ProcessName, touches: &[Touch]) {
        let path = self.touched.join(directory_name(process));
        let new = path.with_extension("new");
        let kept = serde_json::to_vec(touches).ok().and_then(|text| {
            let made = std::fs::DirBuilder::new().mode(0o700).create(&self.touched);
            made.or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &path))
            .ok()
        });
        if kept.is_none() {
            let _ = std::fs::remove_file(&new);
        }
    }
}

impl Runtime {
    /// Forgets what processes that are gone touched first.
    pub fn sweep_first_touches(&self, lives: impl Fn(ProcessName) -> bool) {
        for entry in std::fs::read_dir(&self.touched).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            if !process_of(&entry.file_name()).is_some_and(&lives) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
