//! Our own drops of armed pages, and the reports that the kernel makes of them.
//!
//! A `madvise(2)` of the target waits until its report is read. A thread of ours reads, into the log of the space.
//! Before each drop a note goes there; so that a pager which finds the log later knows a report of ours from one of
//! the process's own, whether it was read already or is still to come.

use crate::runtime::Logs;
use plimsoll_sys::Span;
use plimsoll_sys::uffd::{EventLog, Uffd};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// First words of the notes.
const ABOUT_TO: u64 = 1;
const DONE: u64 = 2;

/// What a note says is about to be dropped; `None` when that is done.
pub(super) fn noted(note: [u64; 3]) -> Option<Span> {
    match note {
        [ABOUT_TO, start, end] => Some(Span { start, end }),
        _ => None,
    }
}

/// Reads the reports of one space as long as it lives.
pub(crate) struct Dropping<'u> {
    log: Arc<Mutex<EventLog>>,
    bell: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
    of: PhantomData<&'u Uffd>,
}

impl<'u> Dropping<'u> {
    /// Starts to read.
    pub(crate) fn new(uffd: &'u Uffd, logs: &Logs) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(EventLog::open(logs.open()?)?));
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (uffd, thread_log, thread_bell) =
            (uffd.try_clone()?, Arc::clone(&log), Arc::clone(&bell));
        let reader = std::thread::Builder::new().spawn(move || {
            loop {
                let mut waits = [
                    PollFd::new(&uffd, PollFlags::IN),
                    PollFd::new(&*thread_bell, PollFlags::IN),
                ];
                let _ = rustix::io::retry_on_intr(|| poll(&mut waits, None));
                let [report, end] = waits.map(|wait| wait.revents().contains(PollFlags::IN));
                if report && lock(&thread_log).read(&uffd, |_| {}).is_err() {
                    return;
                }
                if end {
                    return;
                }
            }
        })?;
        Ok(Self {
            log,
            bell,
            reader: Some(reader),
            of: PhantomData,
        })
    }

    /// Notes what is dropped next.
    pub(crate) fn about_to(&self, span: Span) -> Result<(), Errno> {
        lock(&self.log).note([ABOUT_TO, span.start, span.end])
    }

    /// Notes that it was dropped.
    pub(crate) fn done(&self) -> Result<(), Errno> {
        lock(&self.log).note([DONE, 0, 0])
    }

    /// Ends the reading.
    pub(crate) fn finish(self) {
        drop(self);
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn lock(log: &Mutex<EventLog>) -> MutexGuard<'_, EventLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
