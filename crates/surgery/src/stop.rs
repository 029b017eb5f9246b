//! A whole tree brought to a stand by `ptrace(2)`: every thread of every process, until no new one is found.
//!
//! Nothing can slip away: a thread that forks while we come is reported together with its child, which is
//! seized from its first instruction. The passes end when one finds nobody new. Our death, or a drop, lets every
//! thread run on; job control is as it was.
//!
//! A parent in `vfork(2)` stands still in the kernel, out of ptrace's reach, until its child execs; if that child
//! is stopped, neither moves. Then all are let go, and it is tried again a little later.

use crate::tree::{self, Extent, ProcessName};
use plimsoll_proc::{ReadError, Root};
use plimsoll_sys::ptrace::{self, Options, Running, Stop, Stopped};
use plimsoll_sys::remote::Syscall;
use rustix::process::Pid;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Why a tree could not be stopped. Everything that was stopped runs again.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A thread can't be traced, or a request failed.
    #[error(transparent)]
    Ptrace(#[from] ptrace::Error),
    /// `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A thread stayed deep in the kernel. It remains seized until our own thread ends ([`in_own_thread`]).
    #[error("thread {tid} did not stop within {} ms: it is deep in the kernel (a disk or network file system that does not answer?)", waited.as_millis())]
    Busy {
        /// Which thread.
        tid: i32,
        /// How long was waited for all.
        waited: Duration,
    },
    /// There is nobody.
    #[error("process {pid} has ended")]
    Gone {
        /// The root of the tree.
        pid: u32,
    },
}

/// Does surgery in a thread of its own. A thread of the target that could not be brought to a stand, nor be let go
/// therefore, is let go by the kernel when its tracer ends, and that is this thread.
pub fn in_own_thread<T: Send>(surgery: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(surgery).join() {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked),
    })
}

/// A process all of whose threads stand still.
#[derive(Debug)]
pub struct StoppedProcess {
    /// Which.
    pub name: ProcessName,
    /// Its threads, the leader first (unless that one has ended).
    pub threads: Vec<Stopped>,
    /// What those of them that slept were sleeping in.
    pub asleep: Vec<Asleep>,
}

/// A thread that the stop found in a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asleep {
    /// Which thread.
    pub tid: Pid,
    /// In which call, with its arguments. `restart_syscall(2)` stands for one that was interrupted before.
    pub call: Syscall,
    /// Where its stack stood: tells whether it is the same sleep as one seen earlier.
    pub stack_pointer: u64,
    /// The call has done a part of its work, and ends with that; or it was no sleep.
    pub is_over: bool,
}

impl Drop for StoppedProcess {
    /// The leader last: the end of a killed process is only told when its other threads are gone.
    fn drop(&mut self) {
        while self.threads.pop().is_some() {}
    }
}

/// A tree that stands still as long as this lives.
#[derive(Debug)]
pub struct StoppedTree {
    /// Parents before their children.
    pub processes: Vec<StoppedProcess>,
}

/// How long one thread is waited for before the whole tree is let go for a new attempt.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(3);

pub(crate) const OPTIONS: Options = Options::SYSGOOD
    .union(Options::CHILDREN)
    .union(Options::EXEC);

impl StoppedTree {
    /// Stops a tree that runs (or that job control has stopped).
    ///
    /// # Errors
    /// [`StopError`]; nothing stays stopped then.
    pub fn stop(
        root: &Root,
        top: u32,
        extent: Extent,
        timeout: Duration,
    ) -> Result<Self, StopError> {
        Self::stop_and(root, top, extent, timeout, &mut || {})
    }

    /// Stops a tree that a freezer holds: `thaw` is called when every thread has been seized and told to stop,
    /// so that none of them gets to run an instruction of its own in between.
    ///
    /// # Errors
    /// As [`StoppedTree::stop`]; the tree may have been thawed then.
    pub fn stop_frozen(
        root: &Root,
        top: u32,
        extent: Extent,
        timeout: Duration,
        mut thaw: impl FnMut(),
    ) -> Result<Self, StopError> {
        Self::stop_and(root, top, extent, timeout, &mut thaw)
    }

    fn stop_and(
        root: &Root,
        top: u32,
        extent: Extent,
        timeout: Duration,
        thaw: &mut dyn FnMut(),
    ) -> Result<Self, StopError> {
        let begun = Instant::now();
        loop {
            let mut gathering = Gathering::default();
            match gathering.all(root, top, extent, thaw)? {
                None => return gathering.tree(root, top, extent),
                Some(tid) if begun.elapsed() >= timeout => {
                    let waited = begun.elapsed();
                    return Err(StopError::Busy { tid, waited });
                }
                Some(_) => drop(gathering),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets every thread go.
    pub fn release(self) {
        drop(self);
    }
}

/// Threads on their way to a stand.
#[derive(Default)]
struct Gathering {
    stopped: HashMap<Pid, Stopped>,
    asleep: HashMap<Pid, Asleep>,
    ended: HashSet<Pid>,
}

impl Gathering {
    /// Stops all until a pass finds nobody new; gives a thread that won't stop, if there is one.
    fn all(
        &mut self,
        root: &Root,
        top: u32,
        extent: Extent,
        thaw: &mut dyn FnMut(),
    ) -> Result<Option<i32>, StopError> {
        loop {
            let mut coming = Vec::new();
            for process in tree::members(root, top, extent)? {
                for tid in tree::threads(root, process.pid)? {
                    coming.extend(self.seize(root, tid)?);
                }
            }
            thaw();
            if coming.is_empty() {
                return Ok(None);
            }
            while let Some(running) = coming.pop() {
                let tid = running.tid();
                match running.stop(PATIENCE, |child| coming.push(child))? {
                    Stop::Stopped(stopped) => {
                        let registers = stopped.registers()?;
                        if let Some(call) = registers.call() {
                            let asleep = Asleep {
                                tid,
                                call,
                                stack_pointer: registers.rsp,
                                is_over: registers.interrupted().is_none(),
                            };
                            self.asleep.insert(tid, asleep);
                        }
                        stopped.hide_interruption()?;
                        self.stopped.insert(tid, stopped);
                    }
                    Stop::Exited(_) => {
                        self.ended.insert(tid);
                    }
                    Stop::Busy(_) => return Ok(Some(tid.as_raw_pid())),
                }
            }
        }
    }

    /// Seizes a thread that is new to us and tells it to stop.
    fn seize(&mut self, root: &Root, tid: Pid) -> Result<Option<Running>, StopError> {
        if self.stopped.contains_key(&tid) || self.ended.contains(&tid) {
            return Ok(None);
        }
        match Running::seize(tid, OPTIONS) {
            Ok(running) => {
                // A thread that ends right now is seen by whoever waits for it.
                let _ = running.interrupt();
                Ok(Some(running))
            }
            // Gone, or a zombie (EPERM): a leader that ended before its threads stays one for long.
            Err(error) if error.is_gone() || !is_alive(root, tid) => {
                self.ended.insert(tid);
                Ok(None)
            }
            // Born seized, and its parent has not told us yet.
            Err(_) if tracer(root, tid) == Some(rustix::thread::gettid()) => {
                Ok(Some(Running::born(tid)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sorts the threads by process.
    fn tree(mut self, root: &Root, top: u32, extent: Extent) -> Result<StoppedTree, StopError> {
        let mut processes = Vec::new();
        for name in tree::members(root, top, extent)? {
            let mine = tree::threads(root, name.pid)?;
            let asleep = mine
                .iter()
                .filter_map(|tid| self.asleep.remove(tid))
                .collect();
            let threads: Vec<Stopped> = mine
                .into_iter()
                .filter_map(|tid| self.stopped.remove(&tid))
                .collect();
            if !threads.is_empty() {
                processes.push(StoppedProcess {
                    name,
                    threads,
                    asleep,
                });
            }
        }
        if processes.is_empty() {
            return Err(StopError::Gone { pid: top });
        }
        Ok(StoppedTree { processes })
    }
}

fn is_alive(root: &Root, tid: Pid) -> bool {
    let stat = root.read(format!("proc/{}/stat", tid.as_raw_pid()));
    let state = stat.ok().and_then(|text| {
        let stat = plimsoll_proc::process::stat::Stat::parse(&text).ok()?;
        Some(stat.state)
    });
    !matches!(state, None | Some(b'Z' | b'X' | b'x'))
}

fn tracer(root: &Root, tid: Pid) -> Option<Pid> {
    let text = root
        .read(format!("proc/{}/status", tid.as_raw_pid()))
        .ok()?;
    let status = plimsoll_proc::process::status::Status::parse(&text).ok()?;
    Pid::from_raw(i32::try_from(status.tracer_pid).ok()?)
}
