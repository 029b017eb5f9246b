//! What the guard holds to: a TOML file, and what is so without one. Each key is described in `docs/manual/guard.md`, and a test
//! holds that page to these structs.
//!
//! A key that is not known, or a value that makes no sense, is an error that names the line, never a default.

mod file;
mod pattern;
mod value;

pub use file::ConfigError;

use pattern::Pattern;
pub(crate) use pattern::is_like;
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};
use value::{Milliseconds, Percent, Share};

/// How far a workload may be taken, gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Its page cache is dropped.
    Reclaim,
    /// Its memory is paged out to the kernel's swap.
    PageOut,
    /// It stands still, in memory.
    Freeze,
    /// Its memory leaves, it stands still.
    Park,
    /// It is written down, and ended.
    Checkpoint,
    /// It is asked to end: by its own command, or by SIGTERM.
    Stop,
    /// It is killed.
    Kill,
}

impl Rung {
    /// All, gentlest first.
    pub const ALL: [Self; 7] = [
        Self::Reclaim,
        Self::PageOut,
        Self::Freeze,
        Self::Park,
        Self::Checkpoint,
        Self::Stop,
        Self::Kill,
    ];

    /// Its place in [`Rung::ALL`].
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
    }

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim",
            Self::PageOut => "page-out",
            Self::Freeze => "freeze",
            Self::Park => "park",
            Self::Checkpoint => "checkpoint",
            Self::Stop => "stop",
            Self::Kill => "kill",
        }
    }

    /// Whether work is lost by it.
    #[must_use]
    pub const fn loses_work(self) -> bool {
        matches!(self, Self::Stop | Self::Kill)
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// When it is time to act.
    pub pressure: Pressure,
    /// How fast, and how often.
    pub pace: Pace,
    /// Where the guard keeps its files.
    pub files: Files,
    /// What holds for single workloads. The first that matches counts.
    #[serde(rename = "workload")]
    pub rules: Vec<Rule>,
}

/// `[pressure]`: when it is time to act.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pressure {
    /// Less available memory than this is pressure.
    pub low: Share,
    /// Less than this, with no swap left, is dire.
    pub floor: Share,
    /// Stall of some tasks that is pressure, while memory is scarce.
    pub some: Percent,
    /// Stall of all tasks that is dire, while memory is scarce.
    pub full: Percent,
    /// Paged in and out, or wanted again after reclaim, in one second: more is thrashing.
    pub thrash: Share,
    /// Memory that will be used up within this time, at the rate of the last second or two, is pressure.
    pub exhaustion: Milliseconds,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            low: Share::new(10, Bytes(2 << 30)),
            floor: Share::new(4, Bytes(512 << 20)),
            some: Percent(20),
            full: Percent(30),
            thrash: Share::new(2, Bytes(512 << 20)),
            exhaustion: Milliseconds(10_000),
        }
    }
}

/// `[pace]`: how fast, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pace {
    /// From one look to the next while all is calm.
    pub calm_look: Milliseconds,
    /// From one look to the next under pressure.
    pub pressed_look: Milliseconds,
    /// After an act, its effect is waited for before the next.
    pub settle: Milliseconds,
    /// The same rung is not tried on the same workload again before this.
    pub retry: Milliseconds,
    /// So long without pressure before anything comes back.
    pub calm: Milliseconds,
    /// From one that comes back to the next.
    pub between_returns: Milliseconds,
    /// The longest that anything stays frozen without being parked.
    pub longest_freeze: Milliseconds,
    /// A helper that has not ended an act by then is given up.
    pub deadline: Milliseconds,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            calm_look: Milliseconds(1000),
            pressed_look: Milliseconds(100),
            settle: Milliseconds(1000),
            retry: Milliseconds(60_000),
            calm: Milliseconds(10_000),
            between_returns: Milliseconds(3000),
            longest_freeze: Milliseconds(60_000),
            deadline: Milliseconds(60_000),
        }
    }
}

/// `[files]`: where the guard keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Files {
    /// Directory of the state file and the control socket, on a file system in memory.
    pub run: String,
    /// The log.
    pub log: String,
    /// Every observation is appended here, to be replayed; nowhere where it is empty.
    pub recording: String,
    /// Directory for checkpoints.
    pub checkpoints: String,
    /// Where `plimsoll record` writes: it is told of every act. Nobody is where it is empty.
    pub recordings: String,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            run: "/run/plimsoll/guard".to_owned(),
            log: "/var/log/plimsoll/guard.log".to_owned(),
            recording: String::new(),
            checkpoints: "/var/lib/plimsoll/checkpoints".to_owned(),
            recordings: "/var/lib/plimsoll/recordings".to_owned(),
        }
    }
}

/// `[[workload]]`: what holds for the workloads whose name matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// A group's path, or a process's own name; `*` stands for anything.
    #[serde(rename = "match")]
    pub pattern: Pattern,
    /// How far it may be taken, and in which order; nothing where it is empty.
    #[serde(default = "default_ladder")]
    pub ladder: Vec<Rung>,
    /// The lower goes first.
    #[serde(default)]
    pub priority: i8,
    /// What it may use before it counts as excess, besides what its group is guaranteed.
    #[serde(default)]
    pub guarantee: Amount,
    /// Parked after so long without input or processor time, pressure or not.
    #[serde(default)]
    pub idle: Option<Milliseconds>,
    /// Whether the whole group is killed, or its largest process.
    #[serde(default)]
    pub kill: Extent,
    /// The command that ends it.
    #[serde(default)]
    pub stop: Vec<String>,
}

pub use value::{Amount, Milliseconds as Time};

/// What `kill` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// All of it.
    #[default]
    Group,
    /// The process with the most memory.
    Process,
}

/// What is tried on a workload that no rule names. A checkpoint ends a workload that nobody may ever restore, so it has to be
/// asked for.
pub const DEFAULT_LADDER: [Rung; 6] = [
    Rung::Reclaim,
    Rung::PageOut,
    Rung::Freeze,
    Rung::Park,
    Rung::Stop,
    Rung::Kill,
];

fn default_ladder() -> Vec<Rung> {
    DEFAULT_LADDER.to_vec()
}

impl Policy {
    /// The place of the rule for a workload.
    #[must_use]
    pub fn rule_for(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.pattern.is(name))
    }

    /// How far a workload may be taken.
    #[must_use]
    pub fn ladder(&self, rule: Option<usize>) -> &[Rung] {
        self.rule(rule).map_or(&DEFAULT_LADDER, |rule| &rule.ladder)
    }

    /// A rule by its place.
    #[must_use]
    pub fn rule(&self, place: Option<usize>) -> Option<&Rule> {
        self.rules.get(place?)
    }
}
