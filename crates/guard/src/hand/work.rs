//! The acts. They may wait, allocate and fork: this is not the loop.

use super::Task;
use crate::config::{Extent, Policy, Rung};
use crate::observation::{Cause, Deed, Ended, Id, Standing};
use crate::watch::{Stopped, mark, unmark};
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_cgroup::v1::FreezerState;
use plimsoll_cgroup::write::v2::Settings;
use plimsoll_cgroup::write::{ControlError, Group, frozen, kill};
use plimsoll_park::known;
use plimsoll_park::out::{Order, Wanted};
use plimsoll_park::runtime::{Record, Runtime};
use plimsoll_park::store::{Codec, Place};
use plimsoll_park::wake::{self, WakeOn};
use plimsoll_park::{Kind, ParkError, back, out};
use plimsoll_proc::Root;
use plimsoll_proc::process::stat::Stat;
use plimsoll_surgery::tree::{Extent as TreeExtent, ProcessName};
use plimsoll_units::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What is reclaimed in one go: short enough for a deadline to be kept in between.
const BATCH: Bytes = Bytes::from_mib(32);

/// Reclaim that brings nothing so often in a row is over.
const FRUITLESS: u32 = 3;

/// What a hand works with.
#[derive(Debug)]
pub struct Tools {
    /// What holds for single workloads.
    pub policy: Policy,
    /// The memory controller's hierarchy.
    pub hierarchy: Option<Hierarchy>,
    /// Records of parked trees.
    pub runtime: Runtime,
    /// Where stores go.
    pub place: Place,
    /// This program: it is the watcher of parked trees, and writes checkpoints.
    pub program: PathBuf,
}

/// Why an act came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A control group.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Parking or resuming.
    #[error(transparent)]
    Park(#[from] ParkError),
    /// `/proc`.
    #[error(transparent)]
    Read(#[from] plimsoll_proc::ReadError),
    /// A note of what stands still.
    #[error("cannot note what is stopped")]
    Note(#[source] io::Error),
    /// A signal.
    #[error("cannot signal process {0}")]
    Signal(u32, #[source] rustix::io::Errno),
    /// A program of ours or the owner's.
    #[error("cannot run {0}")]
    Run(String, #[source] io::Error),
    /// It said no.
    #[error("{0}")]
    Said(String),
    /// There is nobody left.
    #[error("it has ended")]
    Gone,
    /// This workload has no such thing.
    #[error("there is no {0} for it")]
    None(&'static str),
}

impl WorkError {
    /// Whether trying again would be no use.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match self {
            // Somebody else is at it, and will not be for long.
            Self::Park(ParkError::Busy(_) | ParkError::AlreadyParked(_)) => Ended::Failed,
            Self::Park(error) if error.kind() != Kind::Failed => Ended::Refused,
            Self::Control(error) if error.is_denied() => Ended::Refused,
            Self::None(_) => Ended::Refused,
            _ => Ended::Failed,
        }
    }
}

impl Tools {
    fn run(&self) -> &Path {
        Path::new(&self.policy.files.run)
    }

    /// The group of a path, if it still is the one that was meant.
    fn group(&self, id: Id, path: &OsStr) -> Result<Group, WorkError> {
        let (Id::Group(inode), Some(hierarchy)) = (id, &self.hierarchy) else {
            return Err(WorkError::None("control group"));
        };
        let below = path
            .as_bytes()
            .strip_prefix(b"/")
            .unwrap_or(path.as_bytes());
        let group = Group::open(
            hierarchy.version,
            hierarchy.mount_point.join(OsStr::from_bytes(below)),
        )?;
        let is_it = std::fs::metadata(group.path())
            .is_ok_and(|it| std::os::unix::fs::MetadataExt::ino(&it) == inode);
        if is_it {
            Ok(group)
        } else {
            Err(WorkError::Gone)
        }
    }

    /// Does what a task says. Gives what left memory.
    ///
    /// # Errors
    /// [`WorkError`]; what was begun is put back.
    pub fn perform(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        match task.deed {
            Deed::Thaw => self.thaw(task, path),
            Deed::Resume => self.resume(task, path),
            Deed::Rung(rung) => match rung {
                Rung::Reclaim => self.reclaim(task, path, 0),
                Rung::PageOut => self.page_out(task, path),
                Rung::Freeze => self.freeze(task, path),
                Rung::Park => self.park(task, path),
                Rung::Checkpoint => self.checkpoint(task, path),
                Rung::Stop => self.stop(task, path),
                Rung::Kill => self.kill(task, path),
            },
        }
    }

    fn freeze(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        let group = self.group(task.id, path)?;
        let note = note(task, Standing::Frozen);
        mark(self.run(), &note, path).map_err(WorkError::Note)?;
        if let Err(error) = frozen::freeze(&group) {
            unmark(self.run(), &note).map_err(WorkError::Note)?;
            return Err(error.into());
        }
        Ok(Bytes::ZERO)
    }

    fn thaw(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        frozen::thaw(&self.group(task.id, path)?)?;
        unmark(self.run(), &note(task, Standing::Frozen)).map_err(WorkError::Note)?;
        Ok(Bytes::ZERO)
    }

    /// Reclaims as much as is expected, a batch at a time. `swappiness` says of what.
    fn reclaim(&self, task: &Task, path: &OsStr, swappiness: u8) -> Result<Bytes, WorkError> {
        let group = self.group(task.id, path)?;
        if group.version() == Version::V1 || !group.has("memory.reclaim") {
            return Err(WorkError::None("memory.reclaim"));
        }
        let usage =
            || Ok::<_, WorkError>(group.read::<Bytes>("memory.current")?.unwrap_or_default());
        let deadline = Instant::now() + Duration::from_millis(self.policy.pace.deadline.0 / 2);
        let (before, mut last, mut fruitless) = (usage()?, usage()?, 0);
        while before - last < task.expected_bytes
            && fruitless < FRUITLESS
            && Instant::now() < deadline
        {
            let left = task.expected_bytes - (before - last);
            Settings(&group).reclaim(left.min(BATCH), Some(swappiness))?;
            let now = usage()?;
            fruitless = if now < last { 0 } else { fruitless + 1 };
            last = now;
        }
        Ok(before - last)
    }

    fn page_out(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        match task.id {
            Id::Group(_) => self.reclaim(task, path, 200),
            Id::Process { pid, .. } => super::process::page_out(pid, task.expected_bytes),
        }
    }

    /// The processes that a workload begins with: those of a group whose parents are not in it.
    fn tops(&self, id: Id, path: &OsStr) -> Result<Vec<u32>, WorkError> {
        let root = Root::live();
        if let Id::Process { pid, start_ticks } = id {
            let name = ProcessName { pid, start_ticks };
            return if name.lives(&root)? {
                Ok(vec![pid])
            } else {
                Err(WorkError::Gone)
            };
        }
        let group = self.group(id, path)?;
        let all = group.processes()?.seen;
        let parent = |pid: u32| {
            let text = root.read(format!("proc/{pid}/stat")).ok()?;
            Some(Stat::parse(&text).ok()?.ppid)
        };
        let is_top =
            |pid: &u32| parent(*pid).is_some_and(|parent| all.binary_search(&parent).is_err());
        let tops: Vec<_> = all.iter().copied().filter(is_top).collect();
        if tops.is_empty() {
            Err(WorkError::Gone)
        } else {
            Ok(tops)
        }
    }

    fn park(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        let root = Root::live();
        let note = note(task, Standing::Parked);
        mark(self.run(), &note, path).map_err(WorkError::Note)?;
        let mut moved = Bytes::ZERO;
        let mut parked = Vec::new();
        let is_frozen = self.is_frozen(task.id, path);
        let mut thaw = || drop(self.thaw(task, path)); // what stays frozen, the parking finds out
        for pid in self.tops(task.id, path)? {
            let done = out::park(&mut Order {
                root: &root,
                runtime: &self.runtime,
                place: &self.place,
                pid,
                extent: TreeExtent::Whole,
                wanted: Wanted::Auto,
                codec: Codec::Lz4,
                wake: WakeOn::Input,
                // Idle is who waits for somebody, not who got no processor.
                only_asleep: task.cause == Cause::Idle,
                // Let go before it stands, one that grows would take what is left.
                thaw: is_frozen.then_some(&mut thaw),
                interrupted: &AtomicBool::new(false),
                progress: &mut |_, _| {},
            });
            match done {
                Ok(done) => {
                    moved += Bytes(done.record.moved_bytes);
                    parked.push(pid);
                }
                Err(error) => {
                    // Half a workload is no use to anybody.
                    self.bring_back(&note, &parked)?;
                    return Err(error.into());
                }
            }
        }
        match (self.watch(), task.cause) {
            (Err(error), Cause::Idle) => {
                self.bring_back(&note, &parked)?;
                Err(error)
            }
            // It comes back when there is memory again, watched or not. A guard that was started meanwhile saw it run, and
            // has removed the note.
            _ => {
                mark(self.run(), &note, path).map_err(WorkError::Note)?;
                Ok(moved)
            }
        }
    }

    /// Whether its group is frozen; a process has none of its own.
    fn is_frozen(&self, id: Id, path: &OsStr) -> bool {
        let state = self
            .group(id, path)
            .and_then(|group| Ok(frozen::state(&group)?));
        matches!(
            state,
            Ok(Some(FreezerState::Frozen | FreezerState::Freezing))
        )
    }

    fn bring_back(&self, note: &Stopped, parked: &[u32]) -> Result<(), WorkError> {
        for pid in parked {
            back::resume(&Root::live(), &self.runtime, *pid)?;
        }
        unmark(self.run(), note).map_err(WorkError::Note)
    }

    /// Sees to it that what is parked wakes by itself.
    fn watch(&self) -> Result<(), WorkError> {
        let mut watcher = Command::new(&self.program);
        wake::ensure(&self.runtime, watcher.arg0("plimsoll").arg("watch"))?;
        Ok(())
    }

    /// Goes on from what a plimsoll that was killed has left: trees that are half out come back, and those that are out are
    /// watched again. What can't be done is told, and left to the next.
    pub fn take_up(&self) {
        let root = Root::live();
        let tell = |error: &dyn std::error::Error| {
            eprintln!("plimsoll guard: cannot go on from what was left: {error}")
        };
        match known::living(&self.runtime, &root) {
            Err(error) => tell(&error),
            Ok(records) => {
                let is_left = |record: &&Record| {
                    known::standing(&self.runtime, record)
                        .is_ok_and(|it| it == known::Standing::Waiting)
                };
                let left = records.iter().filter(is_left);
                for first in left.filter_map(|record| record.processes.first()) {
                    match back::resume(&root, &self.runtime, first.name.pid) {
                        Ok(_) | Err(ParkError::NotParked(_) | ParkError::Busy(_)) => {}
                        Err(error) => tell(&error),
                    }
                }
            }
        }
        if let Err(error) = self.watch() {
            tell(&error);
        }
    }

    fn resume(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        let root = Root::live();
        let mut members = match task.id {
            Id::Process { pid, .. } => vec![pid],
            Id::Group(_) => {
                let group = self.group(task.id, path)?;
                let mut all = group.processes()?.seen;
                for child in group.children()? {
                    all.extend(child.processes()?.seen);
                }
                all
            }
        };
        members.sort_unstable();
        for record in known::living(&self.runtime, &root)? {
            let first = record.processes.first().map(|member| member.name.pid);
            if let Some(pid) = first.filter(|pid| members.binary_search(pid).is_ok()) {
                match back::resume(&root, &self.runtime, pid) {
                    // Input has woken it meanwhile.
                    Ok(_) | Err(ParkError::NotParked(_) | ParkError::Busy(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        unmark(self.run(), &note(task, Standing::Parked)).map_err(WorkError::Note)?;
        Ok(Bytes::ZERO)
    }

    /// Ends by a checkpoint whoever is at the top of it: one that has several is not taken apart.
    fn checkpoint(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        let tops = self.tops(task.id, path)?;
        let [pid] = tops.as_slice() else {
            return Err(WorkError::None("single process to begin with"));
        };
        if let Id::Group(_) = task.id {
            let _ = self.thaw(task, path); // it may not have been frozen
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let dir =
            Path::new(&self.policy.files.checkpoints).join(format!("{pid}-{}", since.as_secs()));
        let failed = |source| WorkError::Run("plimsoll checkpoint".to_owned(), source);
        std::fs::create_dir_all(&self.policy.files.checkpoints).map_err(failed)?;
        let mut command = Command::new(&self.program);
        let command = command
            .arg0("plimsoll")
            .arg("checkpoint")
            .arg(pid.to_string())
            .arg(&dir);
        let out = command.stdin(Stdio::null()).output().map_err(failed)?;
        if out.status.success() {
            return Ok(task.expected_bytes);
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Err(WorkError::Said(
            said.lines().next().unwrap_or("it was refused").to_owned(),
        ))
    }

    fn stop(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        let command = self.policy.rule(task.rule).map(|rule| rule.stop.as_slice());
        if let Some([program, words @ ..]) = command {
            let failed = |source| WorkError::Run(program.clone(), source);
            let mut command = Command::new(program);
            let command = command.args(words).stdin(Stdio::null());
            command.spawn().map_err(failed)?;
        } else {
            for pid in self.tops(task.id, path)? {
                signal(pid, Signal::TERM)?;
            }
        }
        if let Id::Group(_) = task.id {
            let _ = self.thaw(task, path); // it has to run to end
        }
        Ok(Bytes::ZERO)
    }

    fn kill(&self, task: &Task, path: &OsStr) -> Result<Bytes, WorkError> {
        match (task.id, task.extent) {
            (Id::Process { .. }, _) => {
                for pid in self.tops(task.id, path)? {
                    signal(pid, Signal::KILL)?;
                }
            }
            (Id::Group(_), Extent::Group) => {
                kill::kill(&self.group(task.id, path)?)?;
            }
            (Id::Group(_), Extent::Process) => {
                let all = self.group(task.id, path)?.processes()?.seen;
                let largest = all.into_iter().max_by_key(|pid| super::process::held(*pid));
                signal(largest.ok_or(WorkError::Gone)?, Signal::KILL)?;
                let _ = self.thaw(task, path); // the rest of it goes on
            }
        }
        Ok(task.expected_bytes)
    }
}

fn note(task: &Task, standing: Standing) -> Stopped {
    Stopped {
        standing,
        cause: task.cause,
        was_idle: task.was_idle,
        id: task.id,
    }
}

fn signal(pid: u32, signal: Signal) -> Result<(), WorkError> {
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(WorkError::Gone)?;
    let failed = |errno| WorkError::Signal(pid, errno);
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(failed)?;
    pidfd_send_signal(&pidfd, signal).map_err(failed)
}
