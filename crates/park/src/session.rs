//! One pager's time with a tree, and the guardian that keeps what only that pager had.
//!
//! The descriptor of a child that a tree forks while it gets its memory back is given to the pager alone. From that
//! instant until it lies in the child's own table ([`crate::heirs`]), a guardian holds it too: should we be killed, the
//! child waits and the next pager takes the descriptor from there. A guardian that is killed is replaced.
//!
//! Each session has a file `guardian.N` in the directory of the tree, written before its pager reads the first event.

use crate::ParkError;
use crate::arm::pidfd;
use crate::fault_point::fault_point;
use crate::runtime::{Entry, RecordFile};
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::guardian::Guardian;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    PidfdGetfdFlags, Resource, Signal, getrlimit, pidfd_getfd, pidfd_send_signal, setrlimit,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What the files of sessions are called, before the number.
pub(crate) const GUARDIAN: &str = "guardian.";

/// Between attempts to replace a guardian.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What is written down of a session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Guarded {
    pub(crate) pager: ProcessName,
    pub(crate) guardian: ProcessName,
}

impl Guarded {
    /// Whether its pager is gone, and the guardian still there.
    pub(crate) fn is_orphaned(&self) -> bool {
        let root = Root::live();
        let lives = |name: ProcessName| name.lives(&root).unwrap_or(false);
        !lives(self.pager) && lives(self.guardian)
    }

    /// Takes a descriptor out of the guardian; `None` where it has none of that number, or is gone.
    pub(crate) fn take(&self, root: &Root, number: i32) -> Result<Option<OwnedFd>, ParkError> {
        if !self.guardian.lives(root)? {
            return Ok(None);
        }
        let pid = self.guardian.pid;
        let guardian = pidfd(pid)?;
        match pidfd_getfd(guardian.as_fd(), number, PidfdGetfdFlags::empty()) {
            Err(Errno::BADF | Errno::SRCH) => Ok(None),
            taken => taken.map(Some).map_err(|source| ParkError::Process {
                operation: "take a descriptor from the guardian,",
                pid,
                source,
            }),
        }
    }

    /// Ends the guardian, where it lives: what it holds is held elsewhere, or served.
    pub(crate) fn end(&self, root: &Root) -> Result<(), ParkError> {
        if self.guardian.lives(root)? {
            let guardian = pidfd(self.guardian.pid)?;
            let _ = pidfd_send_signal(guardian.as_fd(), Signal::KILL); // gone is what it shall be
            let mut gone = [PollFd::new(&guardian, PollFlags::IN)];
            let _ = rustix::io::retry_on_intr(|| poll(&mut gone, None));
        }
        Ok(())
    }
}

/// A session of ours.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    bell: Arc<OwnedFd>,
    watch: Option<JoinHandle<Option<Guardian>>>,
}

impl Session {
    /// Begins one: its guardian is there, and on record.
    pub(crate) fn begin(entry: &Entry) -> Result<Self, ParkError> {
        raise_descriptor_limit();
        let number = entry.sessions()?.len() as u64;
        let post = Post {
            pager: name_of(std::process::id())?,
            file: entry.file(&format!("{GUARDIAN}{number}")),
        };
        let guardian = post.fill()?;
        fault_point("guarded");
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?;
        let bell = Arc::new(bell);
        let over = Arc::clone(&bell);
        let watch = std::thread::Builder::new().spawn(move || post.watch(guardian, &over));
        let watch =
            watch.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(Self {
            number,
            bell,
            watch: Some(watch),
        })
    }

    /// Ends it: everything that its guardian holds is done with.
    pub(crate) fn end(mut self) {
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        if let Some(Ok(Some(guardian))) = self.watch.take().map(JoinHandle::join) {
            guardian.end();
        }
    }
}

/// Where a guardian is wanted.
struct Post {
    pager: ProcessName,
    file: RecordFile,
}

impl Post {
    /// Makes a guardian and writes it down.
    fn fill(&self) -> Result<Guardian, ParkError> {
        let guardian = Guardian::start().map_err(failed)?;
        self.file.write(&Guarded {
            pager: self.pager,
            guardian: name_of(guardian.pid().as_raw_pid().unsigned_abs())?,
        })?;
        guardian.trust();
        Ok(guardian)
    }

    /// Sees to it that there is one until it is `over`; gives the last.
    fn watch(&self, guardian: Guardian, over: &OwnedFd) -> Option<Guardian> {
        let mut present = Some(guardian);
        loop {
            let mut waits = vec![PollFd::new(over, PollFlags::IN)];
            waits.extend(present.iter().map(|it| PollFd::new(it, PollFlags::IN)));
            // Without one: there was no room for a process. As soon as there is.
            let timeout = present.is_none().then_some(&PAUSE);
            let _ = rustix::io::retry_on_intr(|| poll(&mut waits, timeout));
            let mut ready = waits.iter().map(|wait| !wait.revents().is_empty());
            let (is_over, lost) = (ready.next(), ready.next());
            if is_over == Some(true) {
                return present;
            }
            if lost != Some(false) {
                if let Some(lost) = present.take() {
                    lost.end();
                }
                present = self.fill().ok();
            }
        }
    }
}

fn name_of(pid: u32) -> Result<ProcessName, ParkError> {
    ProcessName::of(&Root::live(), pid)?.ok_or(ParkError::NoProcess(pid))
}

fn failed(source: Errno) -> ParkError {
    ParkError::Process {
        operation: "guard the descriptors of",
        pid: std::process::id(),
        source,
    }
}

/// A tree that forks all the time has a descriptor and a log open here for each child.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // the limit as it is will do for most trees
}
