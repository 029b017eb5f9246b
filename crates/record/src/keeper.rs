//! The thread that writes: made beforehand, with the memory and the descriptors that it needs.
//!
//! The disk may be slow when memory is short, and the beat must go on meanwhile. So the ring is copied a slot at a
//! time, and only for that copy is it held; slots that are overwritten in the meantime are younger ones, and are
//! written instead. A file takes its name when it is whole and on the disk, and the oldest of our files give way.

use crate::format;
use crate::ring::Ring;
use crate::sampler::HOST_FILES;
use crate::trigger::Reason;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Mode, OFlags, RawDir, SeekFrom, fdatasync, openat, renameat, seek, unlinkat,
};
use rustix::io::{Errno, write};
use std::ffi::{CStr, OsStr};
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How many recordings are kept; then the oldest is removed.
pub const FILES_KEPT: usize = 8;

const PREFIX: &[u8] = b"plimsoll-";
const SUFFIX: &[u8] = b".rec";

/// Its stack is locked like all else.
const STACK_BYTES: usize = 128 << 10;

/// What came of writing.
pub(crate) type Outcome = Result<Written, Errno>;

/// A recording that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Why.
    pub reason: Reason,
    /// Seconds since 1970, which are in its name.
    pub unix_s: i64,
    /// How long it is.
    pub bytes: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    wanted: Option<(Reason, i64)>,
    outcome: Option<Outcome>,
    ended: bool,
}

impl Shared {
    /// A thread that panicked left a ring whose slots are each whole or marked empty.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ring, and the thread that writes it out.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, which writes into `directory`.
    pub(crate) fn start(
        ring: Ring,
        slot_bytes: usize,
        directory: OwnedFd,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ring,
                wanted: None,
                outcome: None,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let page_size = u32::try_from(rustix::param::page_size()).unwrap_or(0);
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            directory,
            header: format::file_header(page_size, &HOST_FILES),
            slot: Vec::with_capacity(slot_bytes),
        };
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Does something with the ring.
    pub(crate) fn ring<T>(&self, act: impl FnOnce(&mut Ring) -> T) -> T {
        act(&mut self.shared.lock().ring)
    }

    /// Has the ring written out; one that is being written is not written twice.
    pub(crate) fn write(&self, reason: Reason, unix_s: i64) {
        self.shared.lock().wanted = Some((reason, unix_s));
        self.shared.changed.notify_one();
    }

    /// What came of it, once.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().outcome.take()
    }

    /// Waits for what is being written, and ends the thread.
    pub(crate) fn end(mut self) -> Option<Outcome> {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panicked: then there is no outcome
        }
        self.outcome()
    }
}

struct Writer {
    shared: Arc<Shared>,
    directory: OwnedFd,
    header: Vec<u8>,
    slot: Vec<u8>,
}

impl Writer {
    fn run(&mut self) {
        while let Some((reason, unix_s)) = self.next() {
            let written = self.write(reason, unix_s);
            let outcome = written.map(|bytes| Written {
                reason,
                unix_s,
                bytes,
            });
            self.shared.lock().outcome = Some(outcome);
        }
    }

    /// Waits until something is wanted; `None` at the end.
    fn next(&self) -> Option<(Reason, i64)> {
        let mut state = self.shared.lock();
        loop {
            if let Some(wanted) = state.wanted.take() {
                return Some(wanted);
            }
            if state.ended {
                return None;
            }
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write(&mut self, reason: Reason, unix_s: i64) -> Result<u64, Errno> {
        let mut name = [0; 64];
        let name = file_name(&mut name, reason, unix_s).ok_or(Errno::NAMETOOLONG)?;
        self.make_room()?;
        let aside = c".plimsoll.rec.partial";
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, aside, flags, Mode::RUSR | Mode::WUSR)?;
        let written = self.write_into(&file).and_then(|bytes| {
            fdatasync(&file)?;
            renameat(&self.directory, aside, &self.directory, name)?;
            Ok(bytes)
        });
        if written.is_err() {
            let _ = unlinkat(&self.directory, aside, AtFlags::empty()); // why it failed is what is told
        }
        written
    }

    fn write_into(&mut self, file: &OwnedFd) -> Result<u64, Errno> {
        let mut bytes = put(file, &self.header)?;
        let mut number = 0;
        while let Some(next) = self.shared.lock().ring.copy_next(number, &mut self.slot) {
            number = next;
            bytes += put(file, &format::slot_header(number, &self.slot))?;
            bytes += put(file, &self.slot)?;
        }
        Ok(bytes)
    }

    /// Removes the oldest of our files until one more may be there.
    fn make_room(&self) -> Result<(), Errno> {
        loop {
            let (count, oldest) = self.ours()?;
            if count < FILES_KEPT {
                return Ok(());
            }
            let oldest = CStr::from_bytes_until_nul(&oldest).map_err(|_| Errno::NAMETOOLONG)?;
            unlinkat(&self.directory, oldest, AtFlags::empty())?;
        }
    }

    /// How many recordings there are, and the name of the oldest: names hold the time, and sort by it.
    fn ours(&self) -> Result<(usize, [u8; 64]), Errno> {
        let mut count = 0;
        let mut oldest = [0; 64];
        let mut entries = [MaybeUninit::uninit(); 4096];
        seek(&self.directory, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(&self.directory, &mut entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_ours =
                name.starts_with(PREFIX) && name.ends_with(SUFFIX) && name.len() < oldest.len();
            if !is_ours {
                continue;
            }
            count += 1;
            let held = oldest.split(|&byte| byte == 0).next().unwrap_or_default();
            if held.is_empty() || name < held {
                oldest = [0; 64];
                oldest
                    .iter_mut()
                    .zip(name)
                    .for_each(|(place, byte)| *place = *byte);
            }
        }
        Ok((count, oldest))
    }
}

fn put(file: &OwnedFd, mut bytes: &[u8]) -> Result<u64, Errno> {
    let length = bytes.len() as u64;
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(length)
}

/// `plimsoll-UNIXSECONDS-REASON.rec`
fn file_name(name: &mut [u8; 64], reason: Reason, unix_s: i64) -> Option<&CStr> {
    let mut rest = name.as_mut_slice();
    write!(rest, "plimsoll-{unix_s:010}-{}.rec\0", reason.name()).ok()?;
    CStr::from_bytes_until_nul(name).ok()
}

/// The first recording of a directory that was written at this time or within so many seconds from then on.
#[must_use]
pub fn soon_after(directory: &Path, unix_s: i64, within_s: i64) -> Option<PathBuf> {
    let due = unix_s..=unix_s.saturating_add(within_s);
    let written = |name: &OsStr| -> Option<i64> {
        let name = name.to_str()?.strip_prefix("plimsoll-")?;
        let (seconds, _reason) = name.strip_suffix(".rec")?.split_once('-')?;
        seconds.parse().ok()
    };
    let names = std::fs::read_dir(directory).ok()?;
    let names = names.filter_map(|entry| Some(entry.ok()?.file_name()));
    let in_time = names.filter_map(|name| Some((written(&name)?, name)));
    let first = in_time.filter(|(time, _)| due.contains(time)).min()?;
    Some(directory.join(first.1))
}

/// The name that a recording was given, for people.
#[must_use]
pub(crate) fn name_of(written: &Written) -> String {
    let mut name = [0; 64];
    let name = file_name(&mut name, written.reason, written.unix_s);
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recording_of_an_event_is_found_by_its_time() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [
            "plimsoll-0000000100-act.rec",
            "plimsoll-0000000107-oom-kill.rec",
            "plimsoll-0000000106-x",
            "plimsoll-106.rec",
            "tell",
        ] {
            std::fs::write(scratch.path().join(name), "").unwrap();
        }
        let found = |unix_s| soon_after(scratch.path(), unix_s, 5);
        assert_eq!(found(101), None);
        assert_eq!(
            found(98),
            Some(scratch.path().join("plimsoll-0000000100-act.rec"))
        );
        let kill = scratch.path().join("plimsoll-0000000107-oom-kill.rec");
        assert_eq!(found(102), Some(kill));
        assert_eq!(soon_after(Path::new("/nowhere"), 0, 5), None);
    }
}
