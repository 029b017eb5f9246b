//! Control groups with processes in them, each with its files open.
//!
//! A survey walks the tree and opens what has appeared; a look reads what is open. Groups that hold processes are workloads;
//! the topmost is not, since everything else would go with it, and neither are those that the host itself lives in
//! ([`SYSTEM`]).

use super::hits::Hits;
use super::holds::Holds;
use super::number::{first_number, keyed};
use super::stopped::{StoppedDir, each_entry};
use crate::config::is_like;
use crate::decider::MOST_WORKLOADS;
use crate::name::Name;
use crate::observation::{Id, Mark, Shield, Standing, Workload};
use plimsoll_cgroup::mount::{Hierarchy, Version};
use plimsoll_proc::Root;
use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use plimsoll_units::Bytes;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fgetxattr, fstat, openat};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

/// What a host is reached and kept alive by.
const SYSTEM: [&str; 9] = [
    "*/init.scope",
    "*/ssh.service",
    "*/sshd.service",
    "*/dbus.service",
    "*/dbus-broker.service",
    "*/systemd-*.service",
    "*/getty@*.service",
    "*/polkit.service",
    "*/plimsoll-*.service",
];

/// Deeper than this no group is looked for.
const DEEPEST: usize = 16;

/// Longer paths are passed over.
const LONGEST_PATH: usize = 1024;

/// More processes than this are not told apart by group.
const MOST_MEMBERS: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Groups {
    version: Version,
    top: Option<OwnedFd>,
    slots: Vec<Slot>,
    /// Who is in which slot, by pid.
    members: Vec<(u32, usize)>,
    path: Vec<u8>,
}

/// A group, or room for one.
#[derive(Debug, Default)]
struct Slot {
    open: Option<Open>,
    path: Vec<u8>,
    /// Whether the survey under way has met it.
    met: bool,
    shield: Option<Shield>,
    /// Whether somebody in it leads a session with a terminal.
    leads: bool,
    holds_lock: bool,
    /// Of its processes, as the last survey summed it up: for v1.
    cpu_us: u64,
    cpu_sum_us: u64,
    parked: bool,
}

/// Its files.
#[derive(Debug)]
struct Open {
    inode: u64,
    name: Name,
    usage: OwnedFd,
    stat: OwnedFd,
    procs: OwnedFd,
    swap: Option<OwnedFd>,
    cpu: Option<OwnedFd>,
    hits: Option<Hits>,
    freeze: Option<OwnedFd>,
    can_reclaim: bool,
    guarantees: [Option<OwnedFd>; 2],
    /// As the last survey read them.
    guarantee: Bytes,
    mark: Mark,
}

/// What the files of an interface are called.
struct Names {
    usage: &'static CStr,
    swap: Option<&'static CStr>,
    cpu: Option<&'static CStr>,
    freeze: Option<&'static CStr>,
    reclaim: Option<&'static CStr>,
    guarantees: [Option<&'static CStr>; 2],
    anon: &'static [u8],
    cache: &'static [u8],
}

const V2: Names = Names {
    usage: c"memory.current",
    swap: Some(c"memory.swap.current"),
    cpu: Some(c"cpu.stat"),
    freeze: Some(c"cgroup.freeze"),
    reclaim: Some(c"memory.reclaim"),
    guarantees: [Some(c"memory.min"), Some(c"memory.low")],
    anon: b"anon",
    cache: b"file",
};

/// Processor time and freezers are in hierarchies of their own there; the first is summed up from the processes.
const V1: Names = Names {
    usage: c"memory.usage_in_bytes",
    swap: None,
    cpu: None,
    freeze: None,
    reclaim: None,
    guarantees: [Some(c"memory.soft_limit_in_bytes"), None],
    anon: b"rss",
    cache: b"cache",
};

const fn names(version: Version) -> &'static Names {
    match version {
        Version::V1 => &V1,
        Version::V2 => &V2,
    }
}

impl Groups {
    pub(super) fn open(hierarchy: Option<&Hierarchy>) -> Result<Self, plimsoll_cgroup::Error> {
        let root = Root::live();
        let top = match hierarchy {
            Some(hierarchy) => {
                let dir = hierarchy.open(&root)?;
                Some(dir.as_fd().try_clone_to_owned().map_err(|source| {
                    plimsoll_cgroup::Error::Covered {
                        path: source.to_string().into(),
                    }
                })?)
            }
            None => None,
        };
        let slot = || Slot {
            path: Vec::with_capacity(LONGEST_PATH),
            ..Slot::default()
        };
        Ok(Self {
            version: hierarchy.map_or(Version::V2, |hierarchy| hierarchy.version),
            top,
            slots: std::iter::repeat_with(slot).take(MOST_WORKLOADS).collect(),
            members: Vec::with_capacity(MOST_MEMBERS),
            path: Vec::with_capacity(LONGEST_PATH),
        })
    }

    pub(super) fn path_of(&self, inode: u64) -> Option<&OsStr> {
        let is_it = |slot: &&Slot| slot.open.as_ref().is_some_and(|open| open.inode == inode);
        let slot = self.slots.iter().find(is_it)?;
        Some(OsStr::from_bytes(&slot.path))
    }

    /// Finds what has come and gone, and who is where.
    pub(super) fn survey(&mut self, buffer: &mut [u8]) {
        for slot in &mut self.slots {
            slot.met = false;
        }
        self.members.clear();
        if let Some(top) = self.top.take() {
            self.path.clear();
            self.walk(&top, 0, buffer);
            self.top = Some(top);
        }
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if !slot.met {
                slot.open = None;
            }
            let Some(open) = &mut slot.open else { continue };
            // Its owner may have given it one since.
            open.guarantee = guarantee(&open.guarantees, buffer);
            note_members(&mut self.members, &open.procs, place, buffer);
            slot.shield = SYSTEM
                .iter()
                .any(|pattern| is_like(pattern, open.name.as_str()))
                .then_some(Shield::System);
            (slot.leads, slot.cpu_sum_us) = (false, 0);
        }
        self.members.sort_unstable();
    }

    fn walk(&mut self, dir: &OwnedFd, depth: usize, buffer: &mut [u8]) {
        each_entry(dir, |name, kind, _| {
            // Files of the kernel's are the most of it, and to try to open each would be the most of a survey.
            let may_be_group = matches!(kind, FileType::Directory | FileType::Unknown);
            if !may_be_group || name == b"." || name == b".." || depth >= DEEPEST {
                return;
            }
            let length = self.path.len();
            if length.saturating_add(name.len()).saturating_add(1) > self.path.capacity() {
                return;
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(child) = openat(dir, name, flags, Mode::empty()) else {
                return;
            };
            if is_ours(name) && self.adopt(&child, buffer) {
                return;
            }
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            self.meet(&child, buffer);
            self.walk(&child, depth.saturating_add(1), buffer);
            self.path.truncate(length);
        });
    }

    /// A group that parking made in another, to freeze a part of it: who is in it still is of that other.
    fn adopt(&mut self, child: &OwnedFd, buffer: &mut [u8]) -> bool {
        let path = &self.path;
        let above = |slot: &Slot| slot.open.is_some() && slot.path == *path;
        let Some(place) = self.slots.iter().position(above) else {
            return false;
        };
        let Ok(procs) = kernel_text::open(Some(child), c"cgroup.procs") else {
            return false;
        };
        if has_processes(&procs) {
            note_members(&mut self.members, &procs, place, buffer);
            if let Some(slot) = self.slots.get_mut(place) {
                slot.met = true;
            }
        }
        true
    }

    fn meet(&mut self, dir: &OwnedFd, buffer: &mut [u8]) {
        let Ok(stat) = fstat(dir) else { return };
        let is_it = |slot: &Slot| {
            slot.open
                .as_ref()
                .is_some_and(|open| open.inode == stat.st_ino)
        };
        if let Some(slot) = self.slots.iter_mut().find(|slot| is_it(slot)) {
            let open = slot.open.as_ref();
            // Empty groups make room for others.
            let lived_in = open.is_some_and(|open| has_processes(&open.procs));
            slot.met |= lived_in;
            return;
        }
        let Some(open) = Open::of(dir, stat.st_ino, &self.path, self.version, buffer) else {
            return;
        };
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.open.is_none()) {
            slot.path.clear();
            slot.path.extend_from_slice(&self.path);
            slot.open = Some(open);
            slot.met = true;
            (slot.cpu_us, slot.holds_lock) = (0, false);
        }
    }

    /// The slot that a process is in.
    pub(super) fn slot_of(&self, pid: u32) -> Option<usize> {
        let place = self.members.partition_point(|(member, _)| *member < pid);
        let (member, slot) = self.members.get(place)?;
        (*member == pid).then_some(*slot)
    }

    /// What the census finds out of a process in a slot.
    pub(super) fn count(&mut self, slot: usize, cpu_us: u64, leads: bool, shield: Option<Shield>) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.cpu_sum_us = slot.cpu_sum_us.saturating_add(cpu_us);
            slot.leads |= leads;
            slot.shield = slot.shield.or(shield);
        }
    }

    /// The census is through.
    pub(super) fn counted(&mut self) {
        for slot in &mut self.slots {
            // Processes that end take their time with them: a sum that falls is no idleness.
            slot.cpu_us = slot.cpu_us.max(slot.cpu_sum_us);
        }
    }

    /// Whether a slot can be acted on as one: not one that holds a person's session, whose processes are workloads of their own.
    pub(super) fn is_one(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| !slot.leads)
    }

    pub(super) fn release_locks(&mut self) {
        for slot in &mut self.slots {
            slot.holds_lock = false;
        }
    }

    pub(super) fn holds_lock(&mut self, pid: u32) {
        if let Some(slot) = self.slot_of(pid).and_then(|slot| self.slots.get_mut(slot)) {
            slot.holds_lock = true;
        }
    }

    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        stopped: &StoppedDir,
        holds: &Holds,
        workloads: &mut Vec<Workload>,
    ) {
        for slot in &mut self.slots {
            slot.parked = false;
        }
        for (pid, slot) in &self.members {
            if stopped.is_parked(*pid)
                && let Some(slot) = self.slots.get_mut(*slot)
            {
                slot.parked = true;
            }
        }
        let names = names(self.version);
        for slot in &self.slots {
            if workloads.len() == workloads.capacity() {
                return;
            }
            let Some(open) = &slot.open else { continue };
            workloads.extend(slot.workload(open, names, buffer, stopped, holds));
        }
    }
}

impl Slot {
    /// `None` when it is gone.
    fn workload(
        &self,
        open: &Open,
        names: &Names,
        buffer: &mut [u8],
        stopped: &StoppedDir,
        holds: &Holds,
    ) -> Option<Workload> {
        let id = Id::Group(open.inode);
        let usage = first_number(&open.usage, buffer)?;
        let text = kernel_text::read(&open.stat, buffer)?;
        let mut values = [0_u64; 4];
        for line in lines(text) {
            let mut words = words(line);
            let key = words.next().unwrap_or_default();
            let keys = [names.anon, names.cache, b"shmem", b"swap"];
            if let Some(place) = keys.iter().position(|one| *one == key)
                && let (Some(value), Some(number)) =
                    (values.get_mut(place), words.next().and_then(number))
            {
                *value = number;
            }
        }
        let [anon, cache, shmem, swap] = values.map(Bytes);
        let swap = match &open.swap {
            Some(file) => Bytes(first_number(file, buffer).unwrap_or(0)),
            None => swap,
        };
        let cpu_us = match &open.cpu {
            Some(file) => keyed(file, b"usage_usec", buffer).unwrap_or(0),
            None => self.cpu_us,
        };
        let hits = open.hits.as_ref().and_then(|hits| hits.read(buffer));
        let frozen = open
            .freeze
            .as_ref()
            .and_then(|file| first_number(file, buffer))
            == Some(1);
        let (standing, note) = stopped.standing(id, self.parked, frozen && !self.parked);
        if standing == Standing::Running {
            stopped.forget(id);
        }
        let leads = self.leads.then_some(Shield::SessionLeader);
        let holds_lock = self.holds_lock.then_some(Shield::HoldsLock);
        Some(Workload {
            id,
            name: open.name,
            usage_bytes: Bytes(usage),
            // Both interfaces count shared memory as page cache, though it can't be dropped.
            anon_bytes: anon + shmem,
            cache_bytes: cache - shmem,
            swap_bytes: swap,
            cpu_us,
            guarantee_bytes: open.guarantee,
            limit_hits: hits.unwrap_or(0),
            hold: holds.of(&self.path),
            mark: open.mark,
            shield: self.shield.or(leads).or(holds_lock),
            standing,
            stopped_for: note.map(|note| note.cause),
            was_idle: note.is_some_and(|note| note.was_idle),
            can_freeze: open.freeze.is_some(),
            can_reclaim: open.can_reclaim,
        })
    }
}

impl Open {
    /// `None` where nobody is in it, or memory is not counted for it.
    fn of(
        dir: &OwnedFd,
        inode: u64,
        path: &[u8],
        version: Version,
        buffer: &mut [u8],
    ) -> Option<Self> {
        let names = names(version);
        let open = |name: &CStr| kernel_text::open(Some(dir), name).ok();
        let procs = open(c"cgroup.procs").filter(has_processes)?;
        let guarantees = names.guarantees.map(|name| open(name?));
        Some(Self {
            inode,
            name: Name::of(path),
            usage: open(names.usage)?,
            stat: open(c"memory.stat")?,
            procs,
            swap: names.swap.and_then(open),
            cpu: names.cpu.and_then(open),
            hits: Hits::open(dir, version),
            freeze: names.freeze.and_then(open),
            can_reclaim: names.reclaim.is_some_and(|name| {
                rustix::fs::statat(dir, name, rustix::fs::AtFlags::empty()).is_ok()
            }),
            guarantee: guarantee(&guarantees, buffer),
            guarantees,
            mark: mark(dir),
        })
    }
}

/// The larger of two. v1's soft limit is "unlimited" where nobody set it, which guarantees nothing.
fn guarantee(files: &[Option<OwnedFd>; 2], buffer: &mut [u8]) -> Bytes {
    let bytes = files
        .iter()
        .flatten()
        .filter_map(|file| first_number(file, buffer));
    Bytes(bytes.filter(|bytes| *bytes < 1 << 60).max().unwrap_or(0))
}

/// What systemd's `ManagedOOMPreference=` leaves on a group (`systemd.resource-control(5)`), as root or as the owner.
fn mark(dir: &OwnedFd) -> Mark {
    let is_set = |name: &CStr| {
        let mut value = [0_u8; 4];
        matches!(fgetxattr(dir, name, &mut value), Ok(1..) if value.first() == Some(&b'1'))
    };
    match () {
        () if is_set(c"trusted.oomd_omit") || is_set(c"user.oomd_omit") => Mark::Omit,
        () if is_set(c"trusted.oomd_avoid") || is_set(c"user.oomd_avoid") => Mark::Avoid,
        () => Mark::None,
    }
}

/// Whether surgery made the group to freeze a tree in (`surgery::freeze`): `plimsoll-PID`.
fn is_ours(name: &[u8]) -> bool {
    name.strip_prefix(b"plimsoll-")
        .is_some_and(|pid| number(pid).is_some())
}

/// Notes who is in a group, as far as there is room.
fn note_members(members: &mut Vec<(u32, usize)>, procs: &OwnedFd, place: usize, buffer: &mut [u8]) {
    let text = kernel_text::read(procs, buffer).unwrap_or_default();
    let room = members.capacity().saturating_sub(members.len());
    let pids = lines(text).filter_map(|line| u32::try_from(number(line)?).ok());
    members.extend(pids.map(|pid| (pid, place)).take(room));
}

fn has_processes(procs: &OwnedFd) -> bool {
    matches!(rustix::io::pread(procs, &mut [0_u8; 16], 0), Ok(1..))
}
