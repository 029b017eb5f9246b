//! The control socket: whoever may connect is told how things stand, in one JSON document, and let go. Mode 0600, in a directory
//! of mode 0700.

use crate::decider::Level;
use crate::observation::{Ended, Observation, Outcome};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{accept_with, bind, listen, send, socket_with};
use serde::Serialize;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A document has to fit into what a socket holds.
const LONGEST: usize = 160 << 10;

/// What was counted since the guard began.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counts {
    /// Looks, glances among them.
    pub looks: u64,
    /// Acts begun; of a guard that only says what it would do, acts told of.
    pub acts: u64,
    /// Times that nothing could be done though something should.
    pub refusals: u64,
    /// Acts that were done.
    pub done: u64,
    /// Acts that were refused, failed or were given up.
    pub not_done: u64,
    /// Helpers that could not be started.
    pub hires_failed: u64,
}

impl Counts {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome.ended {
            Ended::Done => &mut self.done,
            Ended::Refused | Ended::Failed | Ended::Overdue => &mut self.not_done,
            Ended::OnlySaid => return,
        };
        *counter = counter.saturating_add(1);
    }
}

/// How things stand.
pub(crate) struct Status<'s> {
    pub(crate) dry_run: bool,
    pub(crate) level: Level,
    pub(crate) seen: &'s Observation,
    pub(crate) counts: &'s Counts,
    pub(crate) records_dropped: u64,
}

#[derive(Serialize)]
struct Document<'s> {
    schema: &'static str,
    dry_run: bool,
    level: Level,
    #[serde(flatten)]
    seen: &'s Observation,
    counts: &'s Counts,
    records_dropped: u64,
}

/// What the document says it is.
pub const STATUS_SCHEMA: &str = "plimsoll.guard-status/1";

/// The socket.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    room: Vec<u8>,
}

fn path(run: &Path) -> PathBuf {
    run.join("control")
}

impl Control {
    /// Listens. What a guard that was killed has left is removed; one that lives is not pushed aside.
    pub(crate) fn listen(run: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(run)?;
        let path = path(run);
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another guard is at work",
            ));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listen(&socket, 4)?;
        Ok(Self {
            socket,
            room: vec![0; LONGEST],
        })
    }

    /// Tells everybody who waits, and waits for nobody.
    pub(crate) fn answer(&mut self, status: &Status<'_>) {
        while let Ok(asker) =
            accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            let document = Document {
                schema: STATUS_SCHEMA,
                dry_run: status.dry_run,
                level: status.level,
                seen: status.seen,
                counts: status.counts,
                records_dropped: status.records_dropped,
            };
            let mut rest = self.room.as_mut_slice();
            if serde_json::to_writer(&mut rest, &document).is_ok() {
                let left = rest.len();
                let length = LONGEST.saturating_sub(left);
                let _ = send(
                    &asker,
                    self.room.get(..length).unwrap_or_default(),
                    SendFlags::NOSIGNAL,
                );
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks the guard that is at work how things stand.
///
/// # Errors
/// As `connect(2)`: `ENOENT`, `ECONNREFUSED` where none is at work, `EACCES` for who may not ask.
pub fn ask(run: &Path) -> io::Result<String> {
    let mut document = String::new();
    UnixStream::connect(path(run))?.read_to_string(&mut document)?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_and_a_second_guard_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let run = scratch.path().join("run");
        let mut control = Control::listen(&run).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&run), mode(&run.join("control"))), (0o700, 0o600));
        assert_eq!(
            Control::listen(&run).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        let asking = std::thread::spawn({
            let run = run.clone();
            move || ask(&run).unwrap()
        });
        while !asking.is_finished() {
            control.answer(&Status {
                dry_run: true,
                level: Level::Calm,
                seen: &Observation::default(),
                counts: &Counts::default(),
                records_dropped: 0,
            });
            std::thread::yield_now();
        }
        let told = asking.join().unwrap();
        assert!(
            told.contains("\"level\":\"calm\"") && told.contains(STATUS_SCHEMA),
            "{told}"
        );
        drop(control);
        Control::listen(&run).unwrap();
    }
}
