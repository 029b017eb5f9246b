//! Events read straight into a file, so that none is lost with its reader.
//!
//! Reading an event lets the thread that caused it go on: a `madvise(2)` returns, and its pages must be zeros from
//! then on, whoever fills them. A reader killed between the read and a note of it would leave a successor that
//! brings stale pages back. So the kernel writes the messages where the successor looks: into a mapping of a file
//! that outlives both. A killed thread still finishes the copy that it is in the middle of, because the
//! mapping's pages were touched before.
//!
//! The file belongs on tmpfs: there no writeback makes the mapping's pages read-only again. It is sparse; a slot
//! that was never written ends the log. Batches of faults alone are not kept: faults come again when they are woken.
//!
//! # Safety
//! The mapping is shared with a file that only its owner may open, and is only ever reached through its pointer,
//! within its length; nothing here borrows from it.
#![allow(unsafe_code)]

use super::event::{BATCH, Event, MESSAGE, decode};
use super::{Features, Uffd};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::File;
use std::ptr::NonNull;

/// Bytes of the file and of its mapping, most of them never written: two million messages.
const LENGTH: usize = 64 << 20;
/// Kind of a note of our own; the kernel's kinds begin at 0x12.
const NOTE: u8 = 1;

/// A log of one userfaultfd's events, open to go on.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    map: NonNull<u8>,
    /// Messages kept so far.
    kept: usize,
    /// Up to here the file has its room set aside.
    room: usize,
}

// SAFETY: the mapping belongs to this value alone and is bound to no thread.
unsafe impl Send for EventLog {}
// SAFETY: through a shared reference the mapping is only read; whoever writes it holds the only reference.
unsafe impl Sync for EventLog {}

/// What a log holds.
#[derive(Debug)]
pub enum Logged {
    /// Something the kernel reported. The descriptor of a fork is only a number here, good in the descriptor table
    /// of whoever read it.
    Event(PastEvent),
    /// Something we wrote ourselves.
    Note([u64; 3]),
}

/// An event that was read once, perhaps by another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastEvent {
    /// A thread waited for a page.
    Pagefault,
    /// It forked; the number of the child's descriptor, in the table of who read this.
    Fork(i32),
    /// It moved this many bytes.
    Remap {
        /// From here.
        from: u64,
        /// To here.
        to: u64,
        /// So much.
        length: u64,
    },
    /// It dropped the pages from, up to.
    Remove(u64, u64),
    /// It unmapped from, up to.
    Unmap(u64, u64),
    /// A later kernel's.
    Unknown(u8),
}

impl EventLog {
    /// Maps a log file, which may be empty.
    ///
    /// # Errors
    /// As `ftruncate(2)` and `mmap(2)`.
    pub fn open(file: File) -> Result<Self, Errno> {
        // A new file is not even looked into: its first page is made when the first message comes.
        let empty = rustix::fs::fstat(&file)?.st_size == 0;
        rustix::fs::ftruncate(&file, LENGTH as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping, placed by the kernel, over nothing of ours.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                LENGTH,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let mut log = Self {
            file,
            map: NonNull::new(map.cast::<u8>()).ok_or(Errno::FAULT)?,
            kept: 0,
            room: 0,
        };
        if empty {
            return Ok(log);
        }
        let kept = (0..LENGTH / MESSAGE).find(|number| log.message(*number).first() == Some(&0));
        log.kept = kept.unwrap_or(LENGTH / MESSAGE);
        Ok(log)
    }

    /// All that was kept, in order.
    pub fn past(&self) -> impl Iterator<Item = Logged> + use<'_> {
        (0..self.kept).map(|number| past(&self.message(number)))
    }

    /// Reads what there is. Every event is in the file before its thread goes on.
    ///
    /// # Errors
    /// As `read(2)`; `ENOSPC` when the log is full: nothing has been read then.
    pub fn read(&mut self, uffd: &Uffd, each: impl FnMut(Event)) -> Result<(), Errno> {
        self.make_room()?;
        let start = self.kept.checked_mul(MESSAGE).ok_or(Errno::NOSPC)?;
        // SAFETY: make_room checked that MESSAGE * BATCH bytes from `start` on lie in the mapping, and the kernel
        // writes no more than that.
        let length = unsafe {
            libc::read(
                uffd.as_fd().as_raw_fd(),
                self.map.as_ptr().add(start).cast(),
                MESSAGE * BATCH,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            return match Errno::from_io_error(&std::io::Error::last_os_error()) {
                Some(Errno::AGAIN | Errno::INTR) => Ok(()),
                errno => Err(errno.unwrap_or(Errno::IO)),
            };
        };
        let first = self.kept;
        let messages = length / MESSAGE;
        let faults = (first..first + messages)
            .map(|number| self.message(number))
            .all(|message| matches!(past(&message), Logged::Event(PastEvent::Pagefault)));
        let batch: Vec<Event> = (first..first + messages)
            .map(|number| decode(&self.message(number), uffd.features()))
            .collect();
        if faults {
            self.wipe(first, messages);
        } else {
            self.kept += messages;
        }
        batch.into_iter().for_each(each);
        Ok(())
    }

    /// Appends a note of our own.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn note(&mut self, words: [u64; 3]) -> Result<(), Errno> {
        self.make_room()?;
        let mut message = [0; MESSAGE];
        for (place, word) in message.chunks_exact_mut(8).skip(1).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        self.write(self.kept, &message);
        // The kind last: a note is there wholly or not at all.
        let [kind, ..] = &mut message;
        *kind = NOTE;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.write(self.kept, &message);
        self.kept += 1;
        Ok(())
    }

    /// Sets pages aside for the next batch and touches them.
    fn make_room(&mut self) -> Result<(), Errno> {
        let start = self.kept.saturating_mul(MESSAGE);
        let bytes = MESSAGE * BATCH;
        if start.saturating_add(bytes) > LENGTH {
            return Err(Errno::NOSPC);
        }
        // Faults are not kept: most batches find the room of the one before.
        if start.saturating_add(bytes) > self.room {
            let flags = FallocateFlags::empty();
            rustix::fs::fallocate(&self.file, flags, start as u64, bytes as u64)?;
            self.room = start.saturating_add(bytes);
        }
        self.wipe(self.kept, BATCH);
        Ok(())
    }

    fn wipe(&mut self, first: usize, messages: usize) {
        for number in first..first + messages {
            self.write(number, &[0; MESSAGE]);
        }
    }

    fn message(&self, number: usize) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        if number < LENGTH / MESSAGE {
            // SAFETY: the message lies wholly in the mapping.
            unsafe {
                let from = self.map.as_ptr().add(number * MESSAGE);
                std::ptr::copy_nonoverlapping(from, message.as_mut_ptr(), MESSAGE);
            }
        }
        message
    }

    fn write(&mut self, number: usize, message: &[u8; MESSAGE]) {
        if number < LENGTH / MESSAGE {
            // SAFETY: the message lies wholly in the mapping, which is ours alone to write.
            unsafe {
                let to = self.map.as_ptr().add(number * MESSAGE);
                std::ptr::copy_nonoverlapping(message.as_ptr(), to, MESSAGE);
            }
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `open` with this length, and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), LENGTH) };
    }
}

/// A message of the past. A fork's descriptor must not be taken here: it may be closed, or another's.
fn past(message: &[u8; MESSAGE]) -> Logged {
    let words = |n: usize| {
        let word = message.chunks_exact(8).nth(n + 1);
        word.and_then(|word| word.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    };
    let [kind, ..] = message;
    if *kind == NOTE {
        return Logged::Note([words(0), words(1), words(2)]);
    }
    if u32::from(*kind) == linux_raw_sys::general::UFFD_EVENT_FORK {
        let number = u32::try_from(words(0) & 0xffff_ffff).unwrap_or_default();
        return Logged::Event(PastEvent::Fork(number.cast_signed()));
    }
    Logged::Event(match decode(message, Features::empty()) {
        Event::Pagefault(_) => PastEvent::Pagefault,
        Event::Fork(_) => PastEvent::Unknown(*kind), // returned above
        Event::Remap { from, to } => PastEvent::Remap {
            from,
            to: to.start,
            length: to.len(),
        },
        Event::Remove(span) => PastEvent::Remove(span.start, span.end),
        Event::Unmap(span) => PastEvent::Unmap(span.start, span.end),
        Event::Unknown(kind) => PastEvent::Unknown(kind),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_their_writer() {
        let file = tempfile::tempfile_in("/dev/shm")
            .or_else(|_| tempfile::tempfile())
            .unwrap();
        let mut log = EventLog::open(file.try_clone().unwrap()).unwrap();
        assert_eq!(log.past().count(), 0);
        for number in 0..200 {
            log.note([number, 2, 3]).unwrap();
        }
        drop(log);
        let log = EventLog::open(file).unwrap();
        let notes: Vec<u64> = log
            .past()
            .map(|logged| match logged {
                Logged::Note([number, 2, 3]) => number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(notes, (0..200).collect::<Vec<_>>());
    }
}
