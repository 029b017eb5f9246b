//! The loop: wait, look, decide, hand out, write down.
//!
//! Everything that it needs is taken in [`Guard::prepare`]: descriptors, memory, helpers. From then on a turn allocates nothing,
//! forks nothing and waits for nobody (`tests/turns.rs` counts), except to open a workload that is new, within memory that is
//! there, and to replace a helper that has died.

use crate::config::Policy;
use crate::control::{Control, Counts, Status};
use crate::decider::{Act, Level, MOST_ACTS, State, Whom, decide, look_again_in_ms};
use crate::hand::Task;
use crate::hand::crew::{CREW, Crew, Hire};
use crate::notify::Manager;
use crate::observation::{Deed, Ended, Host, Id, Observation, Outcome};
use crate::rehearsal::rehearse;
use crate::scribe::Pen;
use crate::watch::{Watch, WatchError, now_ms};
use plimsoll_cgroup::mount::Hierarchy;
use plimsoll_cgroup::write::trigger::{Stalled, Threshold, arm};
use plimsoll_units::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::fmt::Display;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// While all is calm, workloads are looked at once in so many looks, and surveyed then.
const LOOKS_A_SURVEY: u64 = 5;

/// Under pressure a survey is due after so long: who appears now may be the trouble.
const PRESSED_SURVEY_MS: u64 = 1000;

/// And when it is dire: who takes what is left must not have taken it before it is seen.
const DIRE_SURVEY_MS: u64 = 300;

/// So much stall wakes the loop: within a second, in any task.
const TRIGGER: Threshold = Threshold {
    stalled: Stalled::Some,
    stall: Duration::from_millis(70),
    window: Duration::from_secs(1),
};

/// What the guard is made of.
pub struct Setup<'h> {
    /// What it holds to.
    pub policy: Policy,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// The hierarchy of the memory controller, where there is one.
    pub hierarchy: Option<Hierarchy>,
    /// Where records of parked trees are.
    pub parked: &'h Path,
    /// Where records of holds are, where there can be any.
    pub holds: Option<&'h Path>,
    /// Starts its hands.
    pub hire: Box<Hire<'h>>,
    /// The way to the scribe, and which process that is.
    pub scribe: (OwnedFd, u32),
    /// The service manager.
    pub manager: Manager,
}

/// Why there can be no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is nothing to look at.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A helper can't be started.
    #[error("cannot start a helper")]
    Hire(#[source] io::Error),
    /// The control socket can't be made.
    #[error("cannot make the control socket {0}")]
    Control(String, #[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait")]
    Wait(#[source] Errno),
}

/// The guard.
pub struct Guard<'h> {
    policy: Policy,
    dry_run: bool,
    watch: Watch,
    state: State,
    acts: Vec<Act>,
    crew: Crew,
    hire: Box<Hire<'h>>,
    pen: Pen,
    control: Control,
    trigger: Option<OwnedFd>,
    manager: Manager,
    counts: Counts,
    looked_ms: Option<u64>,
}

/// A line of the log, for programs.
#[derive(Serialize)]
struct Line<'l, T: Serialize> {
    schema: &'static str,
    /// For people: it may jump.
    unix_ms: u64,
    /// Milliseconds since boot: from an act's own `at_ms`, which is when it was looked, to here it was done.
    logged_at_ms: u64,
    dry_run: bool,
    #[serde(serialize_with = "shown")]
    words: &'l dyn Display,
    #[serde(flatten)]
    what: What<'l, T>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What<'l, T: Serialize> {
    Act(&'l T),
    Outcome(&'l T),
}

fn shown<S: serde::Serializer>(words: &&dyn Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(words)
}

/// What every line of the log says it is.
pub const LOG_SCHEMA: &str = "plimsoll.guard-log/1";

impl<'h> Guard<'h> {
    /// Takes all that it will need. `note` is told of what it has to do without.
    ///
    /// # Errors
    /// When one of those is missing that it can't do without.
    pub fn prepare(
        mut setup: Setup<'h>,
        note: &mut dyn FnMut(&str, &dyn Display),
    ) -> Result<Self, GuardError> {
        raise_descriptor_limit();
        let run = Path::new(&setup.policy.files.run);
        let mut watch = Watch::open(setup.hierarchy.as_ref(), run, setup.parked, setup.holds)?;
        let control = Control::listen(run)
            .map_err(|error| GuardError::Control(run.display().to_string(), error))?;
        let crew = Crew::start(&mut setup.hire).map_err(GuardError::Hire)?;
        crew.pids()
            .chain([setup.scribe.1])
            .for_each(|pid| watch.spare(pid));
        let trigger = arm(Path::new("/proc/pressure/memory"), TRIGGER);
        let trigger = trigger
            .map_err(|error| note("it is not told of pressure, and looks for it", &error))
            .ok();
        let mut guard = Self {
            policy: setup.policy,
            dry_run: setup.dry_run,
            watch,
            state: State::default(),
            acts: Vec::with_capacity(MOST_ACTS),
            crew,
            hire: setup.hire,
            pen: Pen::new(setup.scribe.0),
            control,
            trigger,
            manager: setup.manager,
            counts: Counts::default(),
            looked_ms: None,
        };
        // Pages are locked as they come, and what a turn touches comes by a rehearsal of it: the rest of the program, which
        // is larger, need not be in memory.
        let lock =
            mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
        if let Err(errno) = lock {
            note("its memory is not locked and may be swapped out", &errno);
        }
        if let Err(errno) = setpriority_process(None, -20) {
            note(
                "it runs with no more right to the processor than others",
                &errno,
            );
        }
        if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
            note("the kernel may choose it to be killed", &error);
        }
        rehearse(&guard.policy);
        guard.look();
        guard.manager.tell("READY=1");
        Ok(guard)
    }

    /// Guards until `end` is readable.
    ///
    /// # Errors
    /// When there is no waiting any more.
    pub fn run(mut self, end: BorrowedFd<'_>) -> Result<(), GuardError> {
        loop {
            let woken = match self.wait(end)? {
                Woken::End => break,
                woken => woken == Woken::Pressure,
            };
            self.turn(woken);
        }
        self.manager.tell("STOPPING=1");
        Ok(())
    }

    /// One turn: hears the hands, looks, decides, hands out. `pressed`: the kernel says that there is pressure.
    pub fn turn(&mut self, pressed: bool) {
        let now = now_ms();
        self.hear(now);
        let pace = &self.policy.pace;
        let survey_ms = pace.calm_look.0.saturating_mul(LOOKS_A_SURVEY);
        let is_due = self
            .looked_ms
            .is_none_or(|then| now.saturating_sub(then) >= survey_ms);
        if pressed || is_due || self.state.level() > Level::Calm || self.glance() > Level::Calm {
            self.look();
        }
        if self.crew.lacks_the_quick_one()
            || (self.crew.is_short() && self.state.level() < Level::Dire)
        {
            self.hire();
        }
        self.control.answer(&Status {
            dry_run: self.dry_run,
            level: self.state.level(),
            seen: self.watch.seen(),
            counts: &self.counts,
            records_dropped: self.pen.dropped,
        });
        self.manager.tell("WATCHDOG=1");
    }

    fn glance(&mut self) -> Level {
        let seen = self.watch.glance();
        decide(&self.policy, &mut self.state, seen, &mut self.acts);
        record(&self.policy, &mut self.pen, seen);
        self.counts.looks = self.counts.looks.saturating_add(1);
        self.state.level()
    }

    fn look(&mut self) {
        let survey_ms = match self.state.level() {
            Level::Calm => 0,
            Level::Dire => DIRE_SURVEY_MS,
            Level::Easing | Level::Pressed => PRESSED_SURVEY_MS,
        };
        let seen = self.watch.look(survey_ms, self.crew.under_way());
        self.looked_ms = Some(seen.at_ms);
        decide(&self.policy, &mut self.state, seen, &mut self.acts);
        record(&self.policy, &mut self.pen, seen);
        self.watch.forget_outcomes();
        self.counts.looks = self.counts.looks.saturating_add(1);
        for place in 0..self.acts.len() {
            if let Some(act) = self.acts.get(place).copied() {
                self.begin(&act);
            }
        }
        self.watch.look_further();
    }

    fn begin(&mut self, act: &Act) {
        // Whoever acts is told before it is written down: the words take their time.
        if let Some(whom) = &act.whom {
            self.counts.acts = self.counts.acts.saturating_add(1);
            self.hand_out(whom);
        } else {
            self.counts.refusals = self.counts.refusals.saturating_add(1);
        }
        let line = Line {
            schema: LOG_SCHEMA,
            unix_ms: unix_ms(),
            logged_at_ms: now_ms(),
            dry_run: self.dry_run,
            words: act,
            what: What::Act(act),
        };
        let would = if self.dry_run { "would " } else { "" };
        let letter = match act.whom {
            Some(_) if !self.dry_run => b'A',
            _ => b'L',
        };
        self.pen.send(letter, |to| {
            writeln!(to, "plimsoll guard: {would}{act}")?;
            serde_json::to_writer(to, &line).map_err(Into::into)
        });
    }

    fn hand_out(&mut self, whom: &Whom) {
        let task = Task {
            id: whom.id,
            deed: whom.deed,
            cause: whom.cause,
            was_idle: whom.was_idle,
            extent: whom.extent,
            rule: whom.rule,
            expected_bytes: whom.expected_bytes,
        };
        let path = match whom.id {
            Id::Group(inode) => self
                .watch
                .path_of(inode)
                .map_or(&b""[..], OsStrExt::as_bytes),
            Id::Process { .. } => b"",
        };
        let ended = match self.dry_run {
            true => Ended::OnlySaid,
            false if self.crew.give(&task, path, now_ms()) => return,
            // Nobody is free to do it: it counts as tried.
            false => Ended::Failed,
        };
        let outcome = Outcome {
            id: task.id,
            of: task.deed,
            ended,
            freed_bytes: Bytes::ZERO,
            took_ms: 0,
        };
        self.counts.count(&outcome);
        self.watch.hear(outcome);
    }

    fn hear(&mut self, now: u64) {
        let Self {
            crew,
            watch,
            pen,
            policy,
            counts,
            ..
        } = self;
        crew.hear(now, policy.pace.deadline.0, &mut |outcome, words| {
            watch.hear(*outcome);
            counts.count(outcome);
            tell(pen, outcome, std::str::from_utf8(words).unwrap_or_default());
        });
    }

    fn hire(&mut self) {
        match self.crew.fill(&mut self.hire) {
            Ok(_) => self.crew.pids().for_each(|pid| self.watch.spare(pid)),
            Err(_) => self.counts.hires_failed = self.counts.hires_failed.saturating_add(1),
        }
    }

    /// Sleeps until the next look is due or something happens.
    fn wait(&self, end: BorrowedFd<'_>) -> Result<Woken, GuardError> {
        let ms = look_again_in_ms(&self.policy, self.state.level(), &self.watch.seen().host);
        let timeout = Timespec::try_from(Duration::from_millis(ms))
            .map_err(|_| GuardError::Wait(Errno::INVAL))?;
        // What is not there is `end`, waited for twice and for nothing.
        let nothing = || PollFd::from_borrowed_fd(end, PollFlags::empty());
        let [quick, one, other] = self.crew.sockets().map(|socket| match socket {
            Some(fd) => PollFd::from_borrowed_fd(fd, PollFlags::IN),
            None => nothing(),
        });
        let trigger = match &self.trigger {
            Some(file) => PollFd::new(file, PollFlags::PRI),
            None => nothing(),
        };
        let mut waited: [PollFd<'_>; CREW + 3] = [
            PollFd::from_borrowed_fd(end, PollFlags::IN),
            trigger,
            PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN),
            quick,
            one,
            other,
        ];
        match poll(&mut waited, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::Time),
            Err(errno) => return Err(GuardError::Wait(errno)),
        }
        let [ended, pressed, ..] = waited;
        Ok(match () {
            () if ended.revents().contains(PollFlags::IN) => Woken::End,
            () if pressed.revents().contains(PollFlags::PRI) => Woken::Pressure,
            () => Woken::Time,
        })
    }
}

#[derive(PartialEq, Eq)]
enum Woken {
    End,
    Pressure,
    Time,
}

/// What a glance is in a recording.
#[derive(Serialize)]
struct Glance<'g> {
    at_ms: u64,
    glance: bool,
    host: &'g Host,
}

fn record(policy: &Policy, pen: &mut Pen, seen: &Observation) {
    if policy.files.recording.is_empty() {
        return;
    }
    let Observation {
        at_ms,
        glance,
        ref host,
        ..
    } = *seen;
    pen.send(b'R', |to| {
        let written = match glance {
            true => serde_json::to_writer(
                to,
                &Glance {
                    at_ms,
                    glance,
                    host,
                },
            ),
            false => serde_json::to_writer(to, seen),
        };
        written.map_err(Into::into)
    });
}

/// An outcome and what the hand says of it.
struct Told<'t>(&'t Outcome, &'t str);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(outcome, why) = self;
        write!(f, "{outcome}")?;
        if why.is_empty() {
            Ok(())
        } else {
            write!(f, ": {why}")
        }
    }
}

fn tell(pen: &mut Pen, outcome: &Outcome, why: &str) {
    let told = Told(outcome, why);
    let line = Line {
        schema: LOG_SCHEMA,
        unix_ms: unix_ms(),
        logged_at_ms: now_ms(),
        dry_run: false,
        words: &told,
        what: What::Outcome(outcome),
    };
    // What was done at once and well needs no second line for people.
    let plain = outcome.ended != Ended::Done || !matches!(outcome.of, Deed::Thaw);
    if plain {
        pen.send(b'L', |to| {
            writeln!(to, "plimsoll guard: {told}")?;
            serde_json::to_writer(to, &line).map_err(Into::into)
        });
    }
}

fn unix_ms() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// A group takes some eight descriptors.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // the limit as it is does for most hosts
}
