//! Every mapping of every process, once, as a stream of events: what the commit account is worked out from.
//!
//! Processes that share an address space (`CLONE_VM` without `CLONE_THREAD`: `vfork`, some runtimes) are
//! told apart by `kcmp(2)` and read once. Shared anonymous memory is charged by its size, which mappings show
//! only in part, so its object is asked through `map_files`. Neither answer is a file, so a recorded tree keeps
//! them in [`CAPTURED`].
//!
//! Reading `smaps` costs each target 13 ms for a GiB in 4 KiB pages, with its `mmap_lock` held.

use super::map_name::MapName;
use super::maps::Device;
use super::smaps::{self, Smap, StreamError};
use super::status::Status;
use super::walk::walk;
use crate::{Dir, ReadError, Root};
use plimsoll_sys::kcmp;
use plimsoll_units::Bytes;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

/// Where a captured tree keeps what is no file.
pub const CAPTURED: &str = "plimsoll/mappings.json";

/// What happens on the way through the processes: `Process`, its `Mapping`s and `Object`s, then one of the
/// others, again and again.
#[derive(Debug)]
pub enum Event<'a> {
    /// A process with an address space.
    Process(&'a Status),
    /// One of its mappings, ascending by address.
    Mapping(&'a Smap<'a>),
    /// A shared anonymous object it maps, met for the first time.
    Object(&'a Object),
    /// All of its mappings have been seen.
    Whole,
    /// It ended meanwhile: what was seen of it counts no more.
    Gone,
    /// Its mappings can't be read: the reader lacks the right, or the process denies it to all
    /// (`PR_SET_DUMPABLE`).
    Unreadable(StreamError),
    /// Its mappings were not read, because the reader spared it.
    Spared,
    /// It shares the address space of a process seen before.
    SharesWith(u32),
}

/// A shared anonymous object: memory that `fork` or a descriptor shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Device of its file.
    pub device: (u32, u32),
    /// Inode of its file.
    pub inode: u64,
    /// Its size.
    pub size_bytes: Bytes,
    /// Pages it has, swapped ones included.
    pub allocated_bytes: Bytes,
}

/// Goes through all processes but those to be spared, and tells what it meets. In a captured tree those are spared that
/// were when it was captured.
///
/// # Errors
/// When `/proc` can't be listed.
pub fn scan(
    root: &Root,
    spare: impl Fn(&Status) -> bool,
    mut tell: impl FnMut(Event<'_>),
) -> Result<(), ReadError> {
    let mut beyond = Beyond::new(root);
    let mut buffer = Vec::new();
    walk(root, |pid, process| {
        let Some(process) = process.ok().filter(|p| p.status.vm.is_some()) else {
            return;
        };
        tell(Event::Process(&process.status));
        let outcome = match beyond.shares_with(pid) {
            Some(other) => Event::SharesWith(other),
            None if beyond.spares(&process.status, &spare) => Event::Spared,
            None => read_mappings(&process.dir, &mut buffer, &mut beyond, &mut tell),
        };
        tell(outcome);
    })?;
    beyond.record(root);
    Ok(())
}

fn read_mappings(
    dir: &Dir<'_>,
    buffer: &mut Vec<u8>,
    beyond: &mut Beyond,
    tell: &mut impl FnMut(Event<'_>),
) -> Event<'static> {
    let mut mappings = 0_u64;
    let result = smaps::stream_file(dir, buffer, |smap| {
        mappings = mappings.saturating_add(1);
        tell(Event::Mapping(smap));
        if smap.mapping.is_shared()
            && smap.mapping.name() == MapName::SharedAnonymous
            && let Some(object) = beyond.object(dir, smap)
        {
            tell(Event::Object(&object));
        }
    });
    match result {
        // An address space without mappings is one that is being taken down.
        Ok(()) if mappings == 0 => Event::Gone,
        Ok(()) => Event::Whole,
        Err(error) if error.is_gone() => Event::Gone,
        Err(error) => Event::Unreadable(error),
    }
}

/// What is no file: asked of the live host, or taken from a captured tree.
struct Beyond {
    live: bool,
    /// One process for each address space, in `kcmp`'s order.
    distinct: Vec<u32>,
    met: HashSet<(Device, u64)>,
    answers: Answers,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answers {
    shares: BTreeMap<u32, u32>,
    objects: Vec<Object>,
    #[serde(default)]
    spared: Vec<u32>,
}

impl Beyond {
    fn new(root: &Root) -> Self {
        let captured = (!root.is_live()).then(|| root.read(CAPTURED).ok());
        let answers = captured.flatten();
        let answers = answers.and_then(|json| serde_json::from_slice(&json).ok());
        Self {
            live: root.is_live(),
            distinct: Vec::new(),
            met: HashSet::new(),
            answers: answers.unwrap_or_default(),
        }
    }

    fn record(&self, root: &Root) {
        if let Ok(json) = serde_json::to_vec(&self.answers) {
            root.record(CAPTURED, &json);
        }
    }

    fn spares(&mut self, status: &Status, spare: impl Fn(&Status) -> bool) -> bool {
        if !self.live {
            return self.answers.spared.contains(&status.pid);
        }
        let spared = spare(status);
        if spared {
            self.answers.spared.push(status.pid);
        }
        spared
    }

    /// The process seen before whose address space `pid` shares. Where it may not be asked, none: its
    /// mappings can't be read either, by the same rule.
    fn shares_with(&mut self, pid: u32) -> Option<u32> {
        if !self.live {
            return self.answers.shares.get(&pid).copied();
        }
        kcmp::address_spaces(pid, pid).ok()?;
        loop {
            let mut gone = None;
            let found = self.distinct.binary_search_by(|other| {
                kcmp::address_spaces(*other, pid).unwrap_or_else(|errno| {
                    gone = (errno == Errno::SRCH).then_some(*other);
                    Ordering::Less
                })
            });
            if let Some(gone) = gone {
                self.distinct.retain(|other| *other != gone);
                if !self.distinct.is_empty() {
                    continue;
                }
            }
            return match found {
                Ok(at) => {
                    let other = self.distinct.get(at).copied()?;
                    self.answers.shares.insert(pid, other);
                    Some(other)
                }
                Err(at) => {
                    self.distinct.insert(at.min(self.distinct.len()), pid);
                    None
                }
            };
        }
    }

    /// The object behind a mapping, the first time that it is met; `None` also where the right is lacking
    /// (`map_files` wants `CAP_CHECKPOINT_RESTORE`).
    fn object(&mut self, dir: &Dir<'_>, smap: &Smap<'_>) -> Option<Object> {
        let mapping = &smap.mapping;
        let key = (mapping.device.major, mapping.device.minor);
        if !self.met.insert((mapping.device, mapping.inode)) {
            return None;
        }
        if !self.live {
            let same = |o: &&Object| o.device == key && o.inode == mapping.inode;
            return self.answers.objects.iter().find(same).cloned();
        }
        let path = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        let stat = rustix::fs::statat(dir, path, AtFlags::empty()).ok()?;
        let object = Object {
            device: key,
            inode: mapping.inode,
            size_bytes: Bytes(u64::try_from(stat.st_size).ok()?),
            allocated_bytes: Bytes(u64::try_from(stat.st_blocks).ok()?.saturating_mul(512)),
        };
        (stat.st_ino == mapping.inode).then(|| self.answers.objects.push(object.clone()))?;
        Some(object)
    }
}
