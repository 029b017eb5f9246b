//! What a hold holds, how much of it was the most, and how often it was refused: in the manner of `/proc/user_beancounters`.

use crate::record::Record;
use crate::{HoldError, Numbers};
use plimsoll_cgroup::format::FlatKeyed;
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_cgroup::sample::{Sample, Tree};
use plimsoll_cgroup::{v1, v2};
use plimsoll_ledger::groups;
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::{Dir, Root};
use plimsoll_units::Bytes;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// The schema of [`Document`].
pub const SCHEMA: &str = "plimsoll.holds/1";

/// What `plimsoll holds --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// By name.
    pub holds: Vec<Shown>,
}

/// A hold. What the kernel does not count is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// What people call it.
    pub name: String,
    /// The directory of its group.
    pub group: String,
    /// 1 or 2.
    pub version: u8,
    /// Its unit, where systemd manages it.
    pub unit: Option<String>,
    /// The group was made for this hold.
    pub own: bool,
    /// Processes in it.
    pub processes: Option<u64>,
    /// The numbers that were asked for.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// What it holds by kind.
    pub held: Kinds,
    /// Each thing that is counted, with its limit and how often that was met.
    pub counters: Vec<Counter>,
    /// How long it waited for memory; `null` where that is not counted.
    pub pressure: Option<Waited>,
}

/// The four kinds, and swap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Anonymous and shared memory.
    pub user_bytes: Option<Bytes>,
    /// Kernel memory; on v1 with dentries and inodes.
    pub kernel_bytes: Option<Bytes>,
    /// Page cache.
    pub page_cache_bytes: Option<Bytes>,
    /// Dentries, inodes and other reclaimable slab; not counted apart on v1.
    pub dentry_inode_bytes: Option<Bytes>,
    /// Swapped out.
    pub swap_bytes: Option<Bytes>,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// `ram`, `swap`, `ram+swap`, `tcp`.
    pub resource: &'static str,
    /// Now.
    pub held_bytes: Option<Bytes>,
    /// The most so far.
    pub max_held_bytes: Option<Bytes>,
    /// As the kernel has it; `null` for none.
    pub limit_bytes: Option<Bytes>,
    /// How often it was met or refused, by the kernel's name of the event.
    pub events: Vec<Event>,
}

/// A count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// `max`, `oom_kill`; v1's `failcnt`.
    pub event: String,
    /// How often, since the group was made.
    pub count: u64,
}

/// Percent of the time in which tasks waited for memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waited {
    /// Some task, in the last 10 s.
    pub some_10s_percent: f64,
    /// Some task, in the last minute.
    pub some_60s_percent: f64,
    /// All that were not idle, in the last 10 s.
    pub full_10s_percent: f64,
    /// All that were not idle, in the last minute.
    pub full_60s_percent: f64,
}

/// Reads how a hold stands; `None` when its group is gone.
///
/// # Errors
/// When a file can't be read.
pub fn show(root: &Root, memory: &Hierarchy, record: &Record) -> Result<Option<Shown>, HoldError> {
    let dir = match open(root, &record.group) {
        Err(error) if error.is_gone() => return Ok(None),
        dir => dir?,
    };
    let counters = match record.interface() {
        Version::V1 => v1_counters(v1::Files(&dir))?,
        Version::V2 => v2_counters(v2::Files(&dir))?,
    };
    let pressure = match &record.pressure {
        Some(path) => match open(root, path) {
            Err(_gone) => None,
            Ok(beside) => waited(v2::Files(&beside))?,
        },
        None => waited(v2::Files(&dir))?,
    };
    let sample = Sample {
        trees: vec![Tree::read(memory.clone(), dir).0],
        errors: Vec::new(),
    };
    let (rows, _) = groups::account(&sample, &HashMap::new());
    let row = rows.into_iter().next().unwrap_or_default();
    Ok(Some(Shown {
        name: record.name.clone(),
        group: record.group.display().to_string(),
        version: record.version,
        unit: record.unit.clone(),
        own: record.own.is_some(),
        processes: row.processes,
        numbers: record.numbers,
        held: Kinds {
            user_bytes: row.user_bytes,
            kernel_bytes: row.kernel_bytes,
            page_cache_bytes: row.page_cache_bytes,
            dentry_inode_bytes: row.dentry_inode_bytes,
            swap_bytes: row.swap_bytes,
        },
        counters,
        pressure,
    }))
}

fn open<'r>(root: &'r Root, path: &Path) -> Result<Dir<'r>, plimsoll_proc::ReadError> {
    root.open_dir(path.strip_prefix("/").unwrap_or(path))
}

fn v2_counters(files: v2::Files<'_>) -> Result<Vec<Counter>, HoldError> {
    let limit = |limit: Option<plimsoll_units::Limit>| limit.and_then(plimsoll_units::Limit::bytes);
    let mut counters = vec![Counter {
        resource: "ram",
        held_bytes: files.memory_current()?,
        max_held_bytes: files.memory_peak()?,
        limit_bytes: limit(files.memory_max()?),
        events: events(files.memory_events()?),
    }];
    if let Some(held) = files.memory_swap_current()? {
        counters.push(Counter {
            resource: "swap",
            held_bytes: Some(held),
            max_held_bytes: files.memory_swap_peak()?,
            limit_bytes: limit(files.memory_swap_max()?),
            events: events(files.memory_swap_events()?),
        });
    }
    Ok(counters)
}

fn v1_counters(files: v1::Files<'_>) -> Result<Vec<Counter>, HoldError> {
    let limit = |limit: Option<plimsoll_units::Limit>| limit.and_then(plimsoll_units::Limit::bytes);
    let failures = |count: Option<u64>| count.map(|count| event("failcnt", count));
    let kills = files
        .oom_control()?
        .and_then(|control| control.get("oom_kill"));
    let mut counters = vec![Counter {
        resource: "ram",
        held_bytes: files.usage()?,
        max_held_bytes: files.max_usage()?,
        limit_bytes: limit(files.limit()?),
        events: failures(files.failcnt()?)
            .into_iter()
            .chain(kills.map(|count| event("oom_kill", count)))
            .collect(),
    }];
    if let Some(held) = files.memsw_usage()? {
        counters.push(Counter {
            resource: "ram+swap",
            held_bytes: Some(held),
            max_held_bytes: files.memsw_max_usage()?,
            limit_bytes: limit(files.memsw_limit()?),
            events: failures(files.memsw_failcnt()?).into_iter().collect(),
        });
    }
    if let Some(held) = files.tcp_usage()? {
        counters.push(Counter {
            resource: "tcp",
            held_bytes: Some(held),
            max_held_bytes: files.tcp_max_usage()?,
            limit_bytes: limit(files.tcp_limit()?),
            events: failures(files.tcp_failcnt()?).into_iter().collect(),
        });
    }
    Ok(counters)
}

fn event(event: &str, count: u64) -> Event {
    Event {
        event: event.to_owned(),
        count,
    }
}

fn events(keyed: Option<FlatKeyed>) -> Vec<Event> {
    let keyed = keyed.unwrap_or_default();
    let named = |(key, count): (&[u8], u64)| event(&String::from_utf8_lossy(key), count);
    keyed.iter().map(named).collect()
}

fn waited(files: v2::Files<'_>) -> Result<Option<Waited>, HoldError> {
    // Refused where the host was booted with psi=0.
    let pressure: Option<Pressure> = files.memory_pressure().unwrap_or_default();
    Ok(pressure.map(|pressure| {
        let full = pressure.full.unwrap_or(pressure.some);
        Waited {
            some_10s_percent: pressure.some.avg10,
            some_60s_percent: pressure.some.avg60,
            full_10s_percent: full.avg10,
            full_60s_percent: full.avg60,
        }
    }))
}
