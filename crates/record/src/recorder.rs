//! The loop: a beat, the ring, what is due, sleep.
//!
//! All that can fail or take long is done before the loop begins, in [`Recorder::prepare`].

use crate::bell;
use crate::keeper::{self, Keeper};
use crate::ring::{Ring, SLOTS};
use crate::sampler::Sampler;
use crate::trigger::{Reason, Triggers};
use plimsoll_proc::text::{lines, number};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::keeper::Written;

/// Tasks that stood still for so many microseconds within so many are pressure (`Documentation/accounting/psi.rst`). Windows of
/// whole 2 s are what an ordinary user may set.
const PRESSURE: &[u8] = b"some 200000 2000000\0";

/// A slot holds at least so many whole beats, and at least so many bytes.
const WHOLE_BEATS_A_SLOT: usize = 4;
const LEAST_SLOT_BYTES: usize = 256 << 10;

/// What to record, and where to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From one beat to the next.
    pub every: Duration,
    /// Where recordings are written; made, for its owner alone, where it is not there.
    pub directory: PathBuf,
}

/// Why there can be no recorder.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// `/proc` can't be listed.
    #[error("cannot open /proc")]
    Proc(#[source] io::Error),
    /// There is nowhere to write.
    #[error("cannot write into {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// The thread that writes can't be started.
    #[error("cannot start the thread that writes")]
    Thread(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for the next beat")]
    Wait(#[source] io::Error),
}

/// What is worth telling while it runs.
#[derive(Debug)]
pub enum Note {
    /// It runs, but not as well as it could: what, and why.
    Weaker(&'static str, io::Error),
    /// A recording was written.
    Written(Written, String),
    /// It could not be.
    NotWritten(io::Error),
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended {
    /// How many beats were taken.
    pub beats: u64,
    /// The longest time from one beat to the next.
    pub longest_gap: Duration,
}

/// Everything that recording needs.
#[derive(Debug)]
pub struct Recorder {
    every: Duration,
    sampler: Sampler,
    keeper: Keeper,
    pressure: Option<OwnedFd>,
    bell: Option<OwnedFd>,
    triggers: Triggers,
}

impl Recorder {
    /// Takes memory and descriptors, locks the one, opens the other, starts the thread.
    ///
    /// # Errors
    /// When one of those that it can't do without is not to be had; `note` is told of the others.
    pub fn prepare(settings: &Settings, note: &mut impl FnMut(Note)) -> Result<Self, RecordError> {
        let directory = directory(&settings.directory)
            .map_err(|error| RecordError::Directory(settings.directory.clone(), error))?;
        let mut sampler = Sampler::open().map_err(|errno| RecordError::Proc(errno.into()))?;
        let beat = sampler.beat();
        let slot_bytes = (beat.room() * WHOLE_BEATS_A_SLOT).max(LEAST_SLOT_BYTES);
        let ring = Ring::new(slot_bytes, beat);
        let mut weaker = |what, outcome: Result<(), io::Error>| {
            if let Err(error) = outcome {
                note(Note::Weaker(what, error));
            }
        };
        let lock = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE);
        weaker(
            "its memory is not locked and may be swapped out",
            lock.map_err(Into::into),
        );
        let first = setpriority_process(None, -20);
        weaker(
            "it runs with no more right to the processor than others",
            first.map_err(Into::into),
        );
        let spared = fs::write("/proc/self/oom_score_adj", "-1000");
        weaker("the kernel may choose it to be killed", spared);
        let pressure = watch_pressure();
        let bell = bell::hang(&directory);
        let keeper = Keeper::start(ring, slot_bytes, directory).map_err(RecordError::Thread)?;
        let pressure = pressure
            .map_err(|errno| weaker("it is not told of memory pressure", Err(errno.into())));
        let bell = bell.map_err(|errno| weaker("no other program can ask it", Err(errno.into())));
        Ok(Self {
            every: settings.every,
            sampler,
            keeper,
            pressure: pressure.ok(),
            bell: bell.ok(),
            triggers: Triggers::default(),
        })
    }

    /// How much memory the ring has.
    #[must_use]
    pub fn ring_bytes(&self) -> usize {
        self.keeper.ring(|ring| ring.slot_bytes() * SLOTS)
    }

    /// Records until `end` is readable; a byte on `told` has the recording written. It is written at the end too.
    ///
    /// # Errors
    /// When there is no waiting any more.
    pub fn run(
        mut self,
        end: BorrowedFd<'_>,
        told: BorrowedFd<'_>,
        note: &mut impl FnMut(Note),
    ) -> Result<Ended, RecordError> {
        let mut ended = Ended::default();
        let mut next = since_boot();
        let mut last = None;
        loop {
            let now = since_boot();
            if now >= next {
                self.beat(now);
                ended.beats += 1;
                let gap = last
                    .replace(now)
                    .map_or(Duration::ZERO, |last| now.saturating_sub(last));
                ended.longest_gap = ended.longest_gap.max(gap);
                while next <= since_boot() {
                    next += self.every; // a beat that is late is not made up for
                }
            }
            if let Some(reason) = self.triggers.take_due(now) {
                self.keeper
                    .write(reason, clock_gettime(ClockId::Realtime).tv_sec);
            }
            tell(self.keeper.outcome(), note);
            if self.wait(next, end, told)? {
                break;
            }
        }
        self.keeper
            .write(Reason::End, clock_gettime(ClockId::Realtime).tv_sec);
        tell(self.keeper.end(), note);
        Ok(ended)
    }

    /// One beat into the ring, and what its texts say of kills.
    fn beat(&mut self, now: Duration) {
        let beat = self.sampler.beat();
        self.keeper.ring(|ring| ring.push(beat));
        let mut lines = beat.texts().flat_map(|(_, text)| lines(text));
        if let Some(count) = lines.find_map(|line| number(line.strip_prefix(b"oom_kill ")?)) {
            self.triggers.oom_kills(now, count);
        }
    }

    /// Sleeps until the next beat, or until something happens; says whether that is the end.
    fn wait(
        &mut self,
        next: Duration,
        end: BorrowedFd<'_>,
        told: BorrowedFd<'_>,
    ) -> Result<bool, RecordError> {
        let mut waited = [
            PollFd::from_borrowed_fd(end, PollFlags::IN),
            PollFd::from_borrowed_fd(told, PollFlags::IN),
            wait_for(self.pressure.as_ref(), PollFlags::PRI, end),
            wait_for(self.bell.as_ref(), PollFlags::IN, end),
        ];
        let left = next.saturating_sub(since_boot());
        let timeout =
            Timespec::try_from(left).map_err(|_| RecordError::Wait(Errno::INVAL.into()))?;
        match poll(&mut waited, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(RecordError::Wait(errno.into())),
        }
        let [ended, asked, pressed, rung] = waited.map(|fd| fd.revents());
        if asked.contains(PollFlags::IN) {
            let _ = rustix::io::read(told, &mut [0; 64]); // it was readable
            self.triggers.event(since_boot(), Reason::Told);
        }
        if pressed.contains(PollFlags::PRI) {
            self.triggers.event(since_boot(), Reason::Pressure);
        }
        if let Some(bell) = self.bell.as_ref().filter(|_| rung.contains(PollFlags::IN)) {
            let _ = rustix::io::read(bell, &mut [0; 64]); // it was readable
            self.triggers.event(since_boot(), Reason::Act);
        }
        Ok(ended.contains(PollFlags::IN))
    }
}

/// Where a file is not there, it is `end` that is waited for once more, for nothing.
fn wait_for<'f>(file: Option<&'f OwnedFd>, what: PollFlags, end: BorrowedFd<'f>) -> PollFd<'f> {
    match file {
        Some(file) => PollFd::new(file, what),
        None => PollFd::from_borrowed_fd(end, PollFlags::empty()),
    }
}

fn tell(outcome: Option<keeper::Outcome>, note: &mut impl FnMut(Note)) {
    match outcome {
        Some(Ok(written)) => note(Note::Written(written, keeper::name_of(&written))),
        Some(Err(errno)) => note(Note::NotWritten(errno.into())),
        None => {}
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty())?;
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
    Ok(directory)
}

fn watch_pressure() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/pressure/memory", flags, Mode::empty())?;
    rustix::io::write(&file, PRESSURE)?;
    Ok(file)
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let ns = |nanoseconds: i64| u32::try_from(nanoseconds).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), ns(time.tv_nsec))
}
