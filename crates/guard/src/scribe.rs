//! The log. The loop must not wait for a disk, so it hands packets to a scribe, a process of its own, and drops what that has
//! no room for; the scribe writes them to files and to stderr, which is the journal under systemd.
//!
//! A packet is a letter, then: `L` a plain line, a line feed and its JSON; `A` the same of an act, which whoever records the last
//! minutes is told of; `R` a line of a recording.

use crate::config::Files;
use plimsoll_record::bell;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// No packet is longer: what a socket holds unless it is told otherwise.
pub const LONGEST: usize = 192 << 10;

/// A file that has grown to this is set aside, once.
const FULL_BYTES: u64 = 16 << 20;

/// The loop's side.
#[derive(Debug)]
pub struct Pen {
    socket: OwnedFd,
    packet: Vec<u8>,
    /// How many packets were dropped.
    pub dropped: u64,
}

/// Writes at most so much as there is room for.
struct Room<'r>(&'r mut Vec<u8>);

impl Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = self.0.capacity().saturating_sub(self.0.len());
        if bytes.len() > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pen {
    /// With its end of a pair of sockets.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            packet: Vec::with_capacity(LONGEST),
            dropped: 0,
        }
    }

    /// Sends what `write` writes; drops it where there is no room.
    pub fn send(&mut self, letter: u8, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        self.packet.clear();
        self.packet.push(letter);
        let written = write(&mut Room(&mut self.packet)).is_ok();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if !written || send(&self.socket, &self.packet, flags).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// Writes until the other end of `socket` is closed.
///
/// # Errors
/// When the socket fails in any other way. A file that can't be written is told once on stderr.
pub fn write_down(socket: impl AsFd, files: &Files) -> Result<(), Errno> {
    let mut log = Book::of(&files.log);
    let mut recording = Book::of(&files.recording);
    let mut packet = vec![0; LONGEST];
    loop {
        let length = match recv(&socket, packet.as_mut_slice(), RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) | Ok((_, 0)) => return Ok(()),
            received => received?.1,
        };
        match packet.get(..length).and_then(<[u8]>::split_first) {
            Some((b'L' | b'A', both)) => {
                if packet.starts_with(b"A") && !files.recordings.is_empty() {
                    // What is not written for want of a recorder is no reason to write no log.
                    let _ = bell::ring(Path::new(&files.recordings));
                }
                let end = both
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .unwrap_or(both.len());
                let (words, json) = both.split_at_checked(end).unwrap_or_default();
                // A journal that has gone away is no reason to end.
                let _ = io::stderr()
                    .write_all(words)
                    .and_then(|()| io::stderr().write_all(b"\n"));
                log.add(json.trim_ascii_start());
            }
            Some((b'R', line)) => recording.add(line),
            _ => {}
        }
    }
}

/// A file that lines are added to.
struct Book {
    path: String,
    file: Option<File>,
    told: bool,
}

impl Book {
    fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            told: false,
        }
    }

    fn add(&mut self, line: &[u8]) {
        if self.path.is_empty() {
            return;
        }
        match self.try_add(line) {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                eprintln!(
                    "plimsoll: cannot write {}: {error}; it is tried again with each line",
                    self.path
                );
                (self.told, self.file) = (true, None);
            }
            Err(_) => self.file = None,
        }
    }

    fn try_add(&mut self, line: &[u8]) -> io::Result<()> {
        let path = Path::new(&self.path);
        let full = |file: &File| file.metadata().is_ok_and(|it| it.len() >= FULL_BYTES);
        if self.file.take_if(|file| full(file)).is_some() {
            fs::rename(path, path.with_extension("old"))?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(directory) = path.parent() {
                    fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(directory)?;
                }
                let mut options = OpenOptions::new();
                none.insert(options.append(true).create(true).mode(0o600).open(path)?)
            }
        };
        // In one write, so that a line is there or not.
        let mut whole = line.to_vec();
        whole.push(b'\n');
        file.write_all(&whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand::crew::packets;

    #[test]
    fn lines_are_written_and_what_has_no_room_is_dropped_and_counted() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join("sub").join(name).display().to_string();
        let files = Files {
            log: path("log"),
            recording: path("recording"),
            ..Files::default()
        };
        let (ours, theirs) = packets().unwrap();
        let mut pen = Pen::new(ours);
        pen.send(b'L', |to| to.write_all(b"words\n{\"a\":1}"));
        pen.send(b'R', |to| to.write_all(b"{\"b\":2}"));
        pen.send(b'R', |to| to.write_all(&vec![b'x'; LONGEST]));
        assert_eq!(pen.dropped, 1);
        drop(pen);
        write_down(&theirs, &files).unwrap();
        assert_eq!(fs::read_to_string(&files.log).unwrap(), "{\"a\":1}\n");
        assert_eq!(fs::read_to_string(&files.recording).unwrap(), "{\"b\":2}\n");
    }

    #[test]
    fn a_scribe_that_stands_still_holds_nobody_up() {
        let (ours, theirs) = packets().unwrap();
        let mut pen = Pen::new(ours);
        for _ in 0..100_000 {
            pen.send(b'R', |to| to.write_all(b"line"));
        }
        assert!(pen.dropped > 0);
        drop(theirs);
        pen.send(b'R', |to| to.write_all(b"line"));
    }

    #[test]
    fn a_full_log_is_set_aside_and_one_that_can_not_be_written_is_borne() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("guard.log");
        File::create(&path).unwrap().set_len(FULL_BYTES).unwrap();
        let mut book = Book::of(&path.display().to_string());
        book.add(b"one"); // opens it
        book.add(b"two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert!(path.with_extension("old").exists());
        Book::of("/proc/nowhere/log").add(b"x");
    }
}
