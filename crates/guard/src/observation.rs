//! What the guard saw at one moment: the host, every workload, and what became of earlier acts.
//!
//! This is all that the decider knows, so a recording of these, a line of JSON each, replays to the same acts. Counters are
//! as the kernel gives them, since boot; rates are the decider's to work out.

use crate::config::Rung;
use crate::name::Name;
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};

/// One moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Milliseconds since boot (`CLOCK_BOOTTIME`), which no clock step changes.
    pub at_ms: u64,
    /// Only the host was looked at.
    #[serde(default)]
    pub glance: bool,
    /// The host.
    pub host: Host,
    /// Everything that could be acted on, and what is spared with the reason. In no order.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// Acts that have ended since the last observation.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
}

/// `/proc/meminfo`, `/proc/vmstat` and `/proc/pressure/memory`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// `MemTotal`
    pub total_bytes: Bytes,
    /// `MemAvailable`
    pub available_bytes: Bytes,
    /// `SwapTotal`
    pub swap_total_bytes: Bytes,
    /// `SwapFree`
    pub swap_free_bytes: Bytes,
    /// Since boot, microseconds in which some task stood still for want of memory; `None` where the kernel has no PSI.
    pub some_us: Option<u64>,
    /// The same, of all tasks that were not idle.
    pub full_us: Option<u64>,
    /// `pswpin` in bytes, since boot.
    pub swapped_in_bytes: Bytes,
    /// `pswpout`
    pub swapped_out_bytes: Bytes,
    /// `workingset_refault_*`: pages that were reclaimed and wanted again.
    pub refaulted_bytes: Bytes,
    /// `oom_kill`
    pub oom_kills: u64,
}

impl Host {
    /// Whether more than a tenth of swap is free, where there is any.
    #[must_use]
    pub const fn swap_is_left(&self) -> bool {
        self.swap_free_bytes.get() > self.swap_total_bytes.get() / 10
    }
}

/// What can be acted on as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Id {
    /// A control group, by its inode.
    Group(u64),
    /// A process outside of any group of its own.
    Process {
        /// Process id.
        pid: u32,
        /// When it started, in clock ticks since boot.
        start_ticks: u64,
    },
}

impl Default for Id {
    fn default() -> Self {
        Self::Group(0)
    }
}

/// One workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Which.
    pub id: Id,
    /// A group's path, or what a process calls itself.
    pub name: Name,
    /// What it has in RAM.
    pub usage_bytes: Bytes,
    /// Of that, anonymous memory.
    pub anon_bytes: Bytes,
    /// Of that, page cache that could be dropped.
    pub cache_bytes: Bytes,
    /// What it has in swap.
    pub swap_bytes: Bytes,
    /// Processor time since it began.
    pub cpu_us: u64,
    /// What the kernel guarantees it (`memory.min`, `memory.low`).
    pub guarantee_bytes: Bytes,
    /// How often it met a limit of its own (`memory.events`: high, max; v1 `failcnt`).
    pub limit_hits: u64,
    /// The hold that it is in.
    pub hold: Option<Hold>,
    /// What its owner asks of daemons like this one.
    pub mark: Mark,
    /// Why it is not to be touched, if so.
    pub shield: Option<Shield>,
    /// Whether it runs.
    pub standing: Standing,
    /// Where it does not, and it was the guard that stopped it: why.
    pub stopped_for: Option<Cause>,
    /// And whether it was idle then: one that was comes back after those that were at work.
    pub was_idle: bool,
    /// Whether there is a freezer for it.
    pub can_freeze: bool,
    /// Whether its pages can be reclaimed for it alone.
    pub can_reclaim: bool,
}

/// Two numbers that somebody has given a workload, or several together (`plimsoll hold`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// What people call it.
    pub name: Name,
    /// The first.
    pub ram_bytes: Bytes,
    /// The second, which comes beside it.
    pub swap_bytes: Bytes,
    /// How often its group met its limits since it was made.
    pub limit_hits: u64,
}

/// `ManagedOOMPreference=` of a unit, which is the extended attribute `user.oomd_avoid` or `user.oomd_omit` of its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// Only when there is nobody else.
    Avoid,
    /// Never.
    Omit,
}

/// Why something is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shield {
    /// The guard itself, its helpers, or what it descends from.
    Itself,
    /// The first process of the host.
    Init,
    /// The host is reached or kept alive by it: ssh, D-Bus, systemd's own services.
    System,
    /// Leads a session with a terminal, or has in it who does: whoever ends it ends all of a person's work.
    SessionLeader,
    /// Holds a file lock that others wait for: to stop it stops them.
    HoldsLock,
}

/// Whether it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    #[default]
    Running,
    /// Its group is frozen.
    Frozen,
    /// It is parked: out of memory.
    Parked,
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whose.
    pub id: Id,
    /// Which act.
    pub of: Deed,
    /// How it ended.
    pub ended: Ended,
    /// What left memory by it, as far as is known.
    pub freed_bytes: Bytes,
    /// How long it took.
    pub took_ms: u64,
}

/// What is done to a workload: a rung of the ladder, or one of the ways back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Down the ladder.
    Rung(Rung),
    /// A frozen one runs again.
    Thaw,
    /// A parked one gets its memory back.
    Resume,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It was done, at least in part.
    Done,
    /// It can't be done to this workload: something stands in the way.
    Refused,
    /// It failed.
    Failed,
    /// It had not ended when its time was up.
    Overdue,
    /// It was said and not done: the guard only says what it would do.
    OnlySaid,
}

/// What made an act necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The host was short of memory: it comes back when that is over.
    Pressure,
    /// It was idle for as long as its rule says: it comes back when it is needed.
    Idle,
}
