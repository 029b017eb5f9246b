//! That there is a watcher where something is to be watched, and only one.
//!
//! `watcher.lock` in the runtime directory is locked by it as long as it lives; opening that file for writing tells it
//! that records have changed (`inotify(7)`), so nothing listens and nothing is sent.

use super::WakeOn;
use crate::ParkError;
use crate::runtime::{Runtime, State};
use plimsoll_sys::own::hand_on_standard_descriptors_only;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

/// How it stands with the watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// Nothing is to be watched.
    Unwanted,
    /// There is one; it has been told to look again.
    Already,
    /// It had to be started.
    Started,
}

/// How often one is started that finds the lock taken.
const TRIES: u32 = 5;

/// The line that a watcher says when it watches.
pub const READY: &str = "watching";

/// Sees to it that a watcher is there if a parked tree wants one: `watcher` is the program that calls
/// [`watch`](super::watch()) and says [`READY`] when that is ready.
///
/// # Errors
/// When records can't be read, or it can't be started.
pub fn ensure(runtime: &Runtime, watcher: &mut Command) -> Result<Watching, ParkError> {
    let mut records = runtime.records()?.into_iter().flatten();
    if !records.any(|record| record.wake == WakeOn::Input && record.state == State::Parked) {
        return Ok(Watching::Unwanted);
    }
    for _ in 0..TRIES {
        if runtime.is_watched()? {
            runtime.tell_watcher()?;
            return Ok(Watching::Already);
        }
        if start(watcher).map_err(ParkError::NoWatcher)? {
            return Ok(Watching::Started);
        }
    }
    Err(ParkError::NoWatcher(io::ErrorKind::WouldBlock.into()))
}

/// Whether the one that was started watches: it leaves it to another that was faster, and to whoever holds the lock for a
/// moment to look whether there is a watcher.
fn start(watcher: &mut Command) -> io::Result<bool> {
    // It lives on: what our caller left open must not stay open for that.
    hand_on_standard_descriptors_only();
    let mut started = watcher
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let said = started.stdout.take().map(BufReader::new);
    let mut lines = said.into_iter().flat_map(BufRead::lines);
    if lines.any(|line| line.is_ok_and(|line| line == READY)) {
        return Ok(true);
    }
    let ended = started.wait()?;
    if ended.success() {
        Ok(false)
    } else {
        Err(io::Error::other(format!("it ended with {ended}")))
    }
}
