//! The decider: two numbers and what the host has, to what is written where, in which order, and what has to be said.
//!
//! **v2.** `memory.max` is RAM and `memory.swap.max` is swap, so that their sum is the most there can be. `memory.high`
//! lies just below RAM ([`margin`]): there the kernel makes the workload reclaim on its way back to user space and slows it
//! down, caches going first, before the hard limit makes it reclaim in the midst of everything. It lies so close that who has
//! no swap left is through in seconds and meets the limit, instead of being stalled for minutes. Where nothing can be
//! swapped it is left off: slowing down would free nothing.
//!
//! **v1.** `limit_in_bytes` is RAM and `memsw.limit_in_bytes` the sum. TCP buffers have a counter of their own, which gets
//! a fiftieth of RAM; the rest is that much smaller, so that all together is what was asked for.
//!
//! A group that holds more than its RAM-to-be is reclaimed first ([`Step::MustFit`]): lowering `memory.max` below what
//! can't be reclaimed would have the kernel kill, while v1 refuses.

use crate::host::Host;
use crate::{Asked, Numbers};
use plimsoll_cgroup::mount::Version;
use plimsoll_cgroup::write::{Group, Setting};
use plimsoll_units::{Bytes, Limit};
use serde::Serialize;

/// What is to be done to a group, in this order, and what has to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// What the person should know.
    pub remarks: Vec<Remark>,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write this into a file of the group.
    Write(&'static str, Value),
    /// Go on only if the group holds no more than this by now.
    MustFit(Bytes),
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An amount, or none.
    Limit(Limit),
    /// Yes or no.
    Flag(bool),
}

impl Setting for Value {
    fn text(&self, version: Version) -> String {
        match self {
            Self::Limit(limit) => limit.text(version),
            Self::Flag(flag) => flag.text(version),
        }
    }
}

/// What the kernel can do for this group: which of the files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Which interface it has.
    pub version: Version,
    /// A limit on swap: `memory.swap.max`, or v1's on both.
    pub swap: bool,
    /// `memory.high`.
    pub high: bool,
    /// `memory.zswap.writeback` (6.8).
    pub writeback: bool,
    /// `memory.low`.
    pub low: bool,
    /// `pids.max`, in this very group.
    pub pids: bool,
    /// v1's counter of TCP buffers.
    pub tcp: bool,
    /// v1's limit on both, as it is now: which of the two is written first depends on it.
    pub memsw: Limit,
}

/// Names of files, which are v2's.
pub(crate) const MAX: &str = "memory.max";
pub(crate) const HIGH: &str = "memory.high";
pub(crate) const SWAP_MAX: &str = "memory.swap.max";
pub(crate) const WRITEBACK: &str = "memory.zswap.writeback";
pub(crate) const LOW: &str = "memory.low";
pub(crate) const PIDS: &str = "pids.max";
/// And v1's.
const LIMIT: &str = "memory.limit_in_bytes";
const MEMSW: &str = "memory.memsw.limit_in_bytes";
const TCP: &str = "memory.kmem.tcp.limit_in_bytes";

impl Abilities {
    /// Looks which files a group has.
    ///
    /// # Errors
    /// When v1's limit can't be read.
    pub fn of(group: &Group) -> Result<Self, plimsoll_cgroup::write::ControlError> {
        let version = group.version();
        Ok(Self {
            version,
            swap: group.has(match version {
                Version::V1 => MEMSW,
                Version::V2 => SWAP_MAX,
            }),
            high: group.has(HIGH),
            writeback: group.has(WRITEBACK),
            low: group.has(LOW),
            pids: group.has(PIDS),
            tcp: group.has(TCP),
            memsw: group.read(MEMSW)?.unwrap_or(Limit::Max),
        })
    }
}

/// What the person should know about a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "remark", rename_all = "kebab-case")]
pub enum Remark {
    /// More RAM than the host has.
    MoreThanTheHost {
        /// What it has.
        ram_bytes: Bytes,
    },
    /// Swap was asked for, and the host has none.
    NoSwap,
    /// The host has less swap than was asked for.
    LessSwap {
        /// What it has.
        swap_bytes: Bytes,
    },
    /// What is over RAM goes to compressed RAM that is not counted in the hold.
    SwapInZram {
        /// The device.
        area: String,
    },
    /// What is over RAM goes to compressed RAM, which is counted in the hold.
    SwapInZswap {
        /// It is never written on to disk: where zswap can take no more, the hold's RAM is its limit.
        never_to_disk: bool,
    },
    /// What is over RAM goes to disk at once.
    SwapOnDisk {
        /// The swap area.
        area: String,
    },
    /// The kernel does not count swap by group, so that the sum is not kept: what is over RAM may swap without limit.
    SwapNotCounted,
    /// TCP buffers are counted apart, and may be this much.
    TcpApart {
        /// Taken off the rest.
        tcp_bytes: Bytes,
    },
    /// v1 slows nobody down: over RAM an allocation waits for its own reclaim, and that is all.
    NotSlowed,
    /// The group has no such setting, so that this is not kept.
    NotHere {
        /// `memory.low`, `pids.max`.
        setting: &'static str,
    },
    /// The processes were moved: what they hold already stays charged where they came from.
    ChargesStay,
    /// systemd can't keep both numbers on v1, so the group's files are written; systemd may write over them.
    BesideSystemd,
}

/// How far below RAM a workload is slowed down: a fiftieth, at most 64 MiB.
///
/// The kernel lets an allocation of 64 pages over `memory.high` sleep for `(excess / high)² × HZ × 64` jiffies, 2 s at most
/// (`calculate_high_delay` in `mm/memcontrol.c`); at a fiftieth that is 25 ms, so that the last fiftieth is used up
/// within seconds at any size.
#[must_use]
pub fn margin(ram: Bytes) -> Bytes {
    Bytes(ram.get() / 50).min(Bytes::from_mib(64))
}

/// Decides.
#[must_use]
pub fn plan(asked: &Asked, host: &Host, can: &Abilities) -> Plan {
    let numbers = asked.numbers;
    let mut remarks = Vec::new();
    if numbers.ram > host.ram {
        remarks.push(Remark::MoreThanTheHost {
            ram_bytes: host.ram,
        });
    }
    let never_to_disk = host.zswap.is_some_and(|zswap| zswap.shrinker) && can.writeback;
    remarks.extend(about_swap(numbers, host, never_to_disk));
    if !can.swap {
        remarks.push(Remark::SwapNotCounted);
    }
    let mut steps = match can.version {
        Version::V1 => v1(numbers, can, &mut remarks),
        Version::V2 => v2(numbers, host, can, never_to_disk),
    };
    for (setting, there, value) in [
        (LOW, can.low, asked.low),
        (PIDS, can.pids, asked.pids_max.map(Bytes)),
    ] {
        match value.map(Limit::Bytes) {
            Some(value) if there => steps.push(Step::Write(setting, Value::Limit(value))),
            Some(_) => remarks.push(Remark::NotHere { setting }),
            None => {}
        }
    }
    Plan { steps, remarks }
}

fn v2(numbers: Numbers, host: &Host, can: &Abilities, never_to_disk: bool) -> Vec<Step> {
    let bytes = |bytes| Value::Limit(Limit::Bytes(bytes));
    let swaps = can.swap && numbers.swap > Bytes::ZERO && host.swap() > Bytes::ZERO;
    let mut steps = Vec::new();
    if can.swap {
        steps.push(Step::Write(SWAP_MAX, bytes(numbers.swap)));
    }
    if swaps && never_to_disk {
        steps.push(Step::Write(WRITEBACK, Value::Flag(false)));
    }
    if can.high {
        // First to reclaim down to it without killing anybody, then where it is to stay.
        steps.push(Step::Write(HIGH, bytes(numbers.ram)));
    }
    steps.push(Step::MustFit(numbers.ram));
    steps.push(Step::Write(MAX, bytes(numbers.ram)));
    if can.high {
        let high = match swaps {
            true => bytes(numbers.ram - margin(numbers.ram)),
            false => Value::Limit(Limit::Max),
        };
        steps.push(Step::Write(HIGH, high));
    }
    steps
}

fn v1(numbers: Numbers, can: &Abilities, remarks: &mut Vec<Remark>) -> Vec<Step> {
    remarks.push(Remark::NotSlowed);
    let bytes = |bytes| Value::Limit(Limit::Bytes(bytes));
    let tcp = if can.tcp {
        Bytes(numbers.ram.get() / 50)
    } else {
        Bytes::ZERO
    };
    let ram = numbers.ram - tcp;
    let mut steps = vec![Step::Write(LIMIT, bytes(ram))];
    if can.swap {
        let both = Step::Write(MEMSW, bytes(ram + numbers.swap));
        // The limit on RAM may at no time be above that on both.
        let wider_first = can.memsw.bytes().is_some_and(|now| ram > now);
        steps.insert(if wider_first { 0 } else { 1 }, both);
    }
    if can.tcp {
        steps.push(Step::Write(TCP, bytes(tcp)));
        remarks.push(Remark::TcpApart { tcp_bytes: tcp });
    }
    steps
}

fn about_swap(numbers: Numbers, host: &Host, never_to_disk: bool) -> Vec<Remark> {
    if numbers.swap == Bytes::ZERO {
        return Vec::new();
    }
    let Some(first) = host.swaps.first() else {
        return vec![Remark::NoSwap];
    };
    let mut remarks = Vec::new();
    if host.swap() < numbers.swap {
        remarks.push(Remark::LessSwap {
            swap_bytes: host.swap(),
        });
    }
    let area = first.path.clone();
    // zswap lies before every area; pages of a zram device would be compressed twice, so nobody has both.
    remarks.push(match host.zswap {
        Some(_) => Remark::SwapInZswap { never_to_disk },
        None if first.is_zram() => Remark::SwapInZram { area },
        None => Remark::SwapOnDisk { area },
    });
    remarks
}

#[cfg(test)]
mod tests;
