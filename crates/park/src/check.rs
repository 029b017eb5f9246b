//! What parking a tree would do, and everything that stands in its way: asked before anything is stopped.
//!
//! [`Examined::look`] reads, [`Report::of`] decides. What runs meanwhile may change; parking looks again when the tree
//! stands.

use crate::family::outlook::{self, Shared};
use crate::memory_group::MemoryGroup;
use crate::plan::{self, Stays};
use crate::store::Place;
use crate::swap::{self, Budget};
use crate::{ParkError, out::Wanted};
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_surgery::holds::{Holds, Mapping, MappingKind, Obstacle};
use plimsoll_surgery::tree::{self, Extent, ProcessName};
use plimsoll_sys::uffd::DEVICE;
use plimsoll_units::{Bytes, PageSize};
use rustix::fs::Access;
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fmt, fs};

/// A tree and its host, as they were found.
#[derive(Debug)]
pub struct Examined {
    /// Its processes, parents before their children.
    pub processes: Vec<Holds>,
    /// What they share since a fork, in the same order.
    shared: Vec<Shared>,
    /// Of the host.
    pub host: Host,
}

/// What the host has to offer.
#[derive(Debug)]
pub struct Host {
    /// Swap that the tree could use.
    pub swap: Budget,
    /// What it takes to swap all of the tree.
    pub swap_needed: Bytes,
    /// Whether the tree has its control groups to itself, so that they can be reclaimed as a whole.
    pub groups_are_its_own: bool,
    /// What its control groups may still hold; `None` without a limit.
    pub group_room: Option<Bytes>,
    /// Memory that could be had (`MemAvailable`).
    pub available: Bytes,
    /// Our own capabilities.
    pub capabilities: CapabilitySet,
    /// `vm.unprivileged_userfaultfd`
    pub anybody_may_userfaultfd: bool,
    /// Whether we may open `/dev/userfaultfd`, to hand it over.
    pub may_open_device: bool,
    /// For processes in slots: those that are in our user namespace, where capabilities mean what they say.
    pub at_home: Vec<bool>,
    /// Of the page.
    pub page_size: PageSize,
}

impl Examined {
    /// Looks at the tree of `pid`.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` makes no sense.
    pub fn look(root: &Root, pid: u32, extent: Extent) -> Result<Self, ParkError> {
        let page_size = plimsoll_proc::page_size::read(root)?;
        let mut processes = Vec::new();
        for name in tree::members(root, pid, extent)? {
            match Holds::look(root, name, page_size) {
                // No memory any more: it is ending.
                Ok(holds) if holds.status.vm.is_none() => {}
                Ok(holds) => processes.push(holds),
                Err(error) if error.is_gone() || !name.lives(root)? => {}
                Err(error) => return Err(error.into()),
            }
        }
        if processes.is_empty() {
            return Err(ParkError::NoProcess(pid));
        }
        let here = fs::read_link("/proc/self/ns/user").ok();
        let at_home = |holds: &Holds| {
            let there = fs::read_link(format!("/proc/{}/ns/user", holds.name.pid));
            there.ok() == here
        };
        let pids: Vec<u32> = processes.iter().map(|holds| holds.name.pid).collect();
        let at_home = processes.iter().map(at_home).collect();
        let host = Host::look(root, &pids, at_home, page_size)?;
        let shared = outlook::of(&processes, page_size)?;
        Ok(Self {
            processes,
            shared,
            host,
        })
    }

    /// That a control group is frozen is no obstacle: who asks has done it, and will thaw it.
    pub(crate) fn will_be_thawed(&mut self) {
        for holds in &mut self.processes {
            holds.obstacles.retain(|one| *one != Obstacle::Frozen);
        }
    }
}

impl Host {
    fn look(
        root: &Root,
        pids: &[u32],
        at_home: Vec<bool>,
        page_size: PageSize,
    ) -> Result<Self, ParkError> {
        let ours = root.read("proc/self/status")?;
        let ours = plimsoll_proc::process::status::Status::parse(&ours);
        let allowed = root.read("proc/sys/vm/unprivileged_userfaultfd");
        let meminfo = Meminfo::parse(&root.read("proc/meminfo")?);
        let device = rustix::fs::access(DEVICE, Access::READ_OK | Access::WRITE_OK);
        Ok(Self {
            swap: Budget::read(root, pids.iter().copied())?,
            swap_needed: swap::needed(root, pids.iter().copied())?,
            groups_are_its_own: !swap::own_groups(root, pids).is_empty(),
            group_room: pids
                .iter()
                .filter_map(|pid| MemoryGroup::of(root, *pid)?.room())
                .min(),
            available: meminfo.mem_available.unwrap_or_default(),
            capabilities: ours.map_or(CapabilitySet::empty(), |ours| ours.capabilities()),
            anybody_may_userfaultfd: allowed.is_ok_and(|text| text.trim_ascii() == b"1"),
            may_open_device: device.is_ok(),
            at_home,
            page_size,
        })
    }

    fn we_have(&self, capability: CapabilitySet) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether a process can make a userfaultfd that answers for the kernel's accesses too (`userfaultfd(2)`).
    fn lets_have_userfaultfd(&self, holds: &Holds, at_home: bool) -> bool {
        let status = &holds.status;
        let has = |capability| at_home && status.has(capability);
        self.anybody_may_userfaultfd || has(CapabilitySet::SYS_PTRACE) || self.may_open_device
    }
}

/// What stands in the way, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// Of which process; `None` of the host.
    pub process: Option<ProcessName>,
    /// In plain words.
    pub what: String,
    /// What can be done about it.
    pub remedy: String,
    /// Whether more privilege is all that it takes.
    pub is_privilege: bool,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(name) => write!(f, "process {}: {}", name.pid, self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What would become of one process's memory.
#[derive(Debug)]
pub struct Fate {
    /// Which.
    pub name: ProcessName,
    /// What it calls itself.
    pub comm: String,
    /// Leaves RAM: a part of it may be swapped already.
    pub moves: Bytes,
    /// Stays, by reason.
    pub left: BTreeMap<Stays, Bytes>,
}

/// The means that parking would choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The kernel's swap.
    Swap,
    /// A store.
    Store,
}

/// A swap file of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSwap {
    /// What it takes.
    pub size: Bytes,
    /// Where it is made.
    pub dir: PathBuf,
}

/// The answer.
#[derive(Debug)]
pub struct Report {
    /// Process by process.
    pub fates: Vec<Fate>,
    /// By which means.
    pub means: Means,
    /// Bytes that a resume would take on top: pages shared since a fork come back to each process.
    pub copies: Bytes,
    /// A swap file that has to be made first.
    pub own_swap: Option<OwnSwap>,
    /// All that stands in the way.
    pub hindrances: Vec<Hindrance>,
}

impl Report {
    /// Decides. `place` is where a store would go.
    #[must_use]
    pub fn of(examined: &Examined, wanted: Wanted, place: &Place) -> Self {
        let Examined {
            processes,
            shared,
            host,
        } = examined;
        let anonymous: Bytes = mappings(processes).map(|mapping| mapping.anonymous).sum();
        let means = match wanted {
            Wanted::Swap => Means::Swap,
            Wanted::Auto if host.swap.saves() >= host.swap_needed => Means::Swap,
            Wanted::Auto | Wanted::Store => Means::Store,
        };
        let mut hindrances = Vec::new();
        for holds in processes {
            // Without it, the process has to page out for itself, and its filters have to let it.
            let calls = means == Means::Store || !host.we_have(CapabilitySet::SYS_NICE);
            let counts = |obstacle: &&Obstacle| match obstacle {
                Obstacle::Filtered => calls,
                obstacle => means == Means::Store || obstacle.stops_swap(),
            };
            let obstacles = holds.obstacles.iter().filter(counts);
            hindrances.extend(obstacles.map(|obstacle| of(holds, *obstacle)));
        }
        let fates: Vec<Fate> = processes
            .iter()
            .zip(shared)
            .map(|(holds, shared)| fate(holds, shared, means, host))
            .collect();
        let copies = match means {
            Means::Swap => Bytes::ZERO,
            Means::Store => shared.iter().map(|shared| shared.copies).sum(),
        };
        let seen = mappings(processes).next().is_some();
        let any_goes = |mapping: &Mapping| plan::why_stays(mapping).is_none();
        if means == Means::Store && seen && !mappings(processes).any(any_goes) {
            hindrances.push(of_host(
                "it has no memory that could be parked",
                "there is nothing to gain",
            ));
        }
        let mut own_swap_file = None;
        match means {
            Means::Swap => match own_swap(host, place) {
                Ok(own) => own_swap_file = own,
                Err(hindrance) => hindrances.push(hindrance),
            },
            Means::Store => {
                hindrances.extend(of_store(examined));
                hindrances.extend(of_copies(copies, host));
                if let Err(error) = place.look(anonymous.get()) {
                    let remedy = "give a directory on a disk with --store";
                    hindrances.push(of_host(&error.to_string(), remedy));
                }
            }
        }
        Self {
            fates,
            means,
            copies,
            own_swap: own_swap_file,
            hindrances,
        }
    }

    /// Bytes that would leave RAM.
    #[must_use]
    pub fn moves(&self) -> Bytes {
        self.fates.iter().map(|fate| fate.moves).sum()
    }

    /// Bytes that would stay, by reason.
    #[must_use]
    pub fn left(&self) -> BTreeMap<Stays, Bytes> {
        let mut left = BTreeMap::new();
        for (why, bytes) in self.fates.iter().flat_map(|fate| &fate.left) {
            *left.entry(*why).or_default() += *bytes;
        }
        left
    }
}

fn mappings(processes: &[Holds]) -> impl Iterator<Item = &Mapping> {
    processes.iter().flat_map(|holds| &holds.mappings)
}

fn of(holds: &Holds, obstacle: Obstacle) -> Hindrance {
    Hindrance {
        process: Some(holds.name),
        what: obstacle.to_string(),
        remedy: obstacle.remedy().to_owned(),
        is_privilege: obstacle.is_privilege(),
    }
}

fn of_host(what: &str, remedy: &str) -> Hindrance {
    Hindrance {
        process: None,
        what: what.to_owned(),
        remedy: remedy.to_owned(),
        is_privilege: false,
    }
}

/// What a swap file of our own would have to take, or why there can be none.
fn own_swap(host: &Host, place: &Place) -> Result<Option<OwnSwap>, Hindrance> {
    let (needed, budget) = (host.swap_needed, host.swap);
    if budget.holds() >= needed {
        return Ok(None);
    }
    let what = format!("it takes {needed} of swap, and {budget}");
    let Some(size) = swap::own::wanted(needed, &budget) else {
        let remedy = "raise memory.swap.max of its control group, or use --via store";
        return Err(of_host(&what, remedy));
    };
    if !host.we_have(CapabilitySet::SYS_ADMIN) {
        let remedy = "add swap (swapon), or run as root, which makes a swap file for the time; \
                      or use --via store";
        return Err(of_host(&what, remedy));
    }
    match swap::own::look(place, size) {
        Ok(dir) => Ok(Some(OwnSwap { size, dir })),
        Err(error) => Err(of_host(
            &format!("{what}, and no swap file can be made: {error}"),
            "give a directory on a disk that can hold one with --store; or use --via store",
        )),
    }
}

/// The copies that a resume makes have to fit in what is free even now, before anything has left.
fn of_copies(copies: Bytes, host: &Host) -> Option<Hindrance> {
    let (room, whose) = match host.group_room {
        Some(room) if room < host.available => (room, "its control group"),
        _ => (host.available, "the host"),
    };
    let what = format!(
        "{copies} that its processes share would come back as copies, and {whose} has {room}"
    );
    let remedy = "use --via swap, which keeps pages shared, or free memory first";
    (copies > room).then(|| of_host(&what, remedy))
}

fn of_store(examined: &Examined) -> Vec<Hindrance> {
    let Examined {
        processes, host, ..
    } = examined;
    let mut found = Vec::new();
    // userfaultfd(2), UFFD_FEATURE_EVENT_FORK: asked of who switches it on, whatever the sysctl or the device allow.
    if !host.we_have(CapabilitySet::SYS_PTRACE) {
        found.push(Hindrance {
            is_privilege: true,
            ..of_host(
                "being told of forks, which a store needs, takes CAP_SYS_PTRACE",
                "run as root, or with CAP_SYS_PTRACE; or use --via swap",
            )
        });
    }
    for (holds, at_home) in processes.iter().zip(&host.at_home) {
        if !host.lets_have_userfaultfd(holds, *at_home) {
            found.push(Hindrance {
                process: Some(holds.name),
                what: "it may not have a userfaultfd that answers for the kernel too".to_owned(),
                remedy: "sysctl vm.unprivileged_userfaultfd=1, or let it open /dev/userfaultfd, \
                         or start it with CAP_SYS_PTRACE; or use --via swap"
                    .to_owned(),
                is_privilege: true,
            });
        }
    }
    found
}

fn fate(holds: &Holds, shared: &Shared, means: Means, host: &Host) -> Fate {
    let mut moves = Bytes::ZERO;
    let mut left: BTreeMap<Stays, Bytes> = BTreeMap::new();
    for mapping in &holds.mappings {
        let pages = mapping.pages;
        let why = match means {
            Means::Store => plan::why_stays(mapping),
            Means::Swap => swap::why_never(mapping),
        };
        match why {
            None => {
                moves += pages.exclusive + pages.swapped;
                match (mapping.kind, means) {
                    (MappingKind::SharedMemory, Means::Swap) => moves += mapping.proportional,
                    (MappingKind::SharedMemory, Means::Store) => {
                        *left.entry(Stays::SharedMemory).or_default() += pages.file;
                    }
                    _ => *left.entry(Stays::File).or_default() += pages.file,
                }
                if means == Means::Swap && host.groups_are_its_own {
                    moves += mapping.proportional - pages.exclusive - pages.file;
                } else if means == Means::Swap {
                    *left.entry(Stays::SharedByFork).or_default() += pages.shared_by_fork;
                }
            }
            Some(why) => *left.entry(why).or_default() += mapping.resident,
        }
    }
    if means == Means::Store {
        moves += shared.goes;
        *left.entry(Stays::SharedByFork).or_default() += shared.stays;
    }
    if means == Means::Store {
        // What a thread stands on is known when it stands still: at most three pages around its stack pointer, and as
        // many around what it keeps for itself. The leader's stack is counted as a whole.
        let threads = u64::from(holds.status.threads.max(1));
        let at_most = Bytes(
            threads
                .saturating_mul(6)
                .saturating_mul(host.page_size.get()),
        );
        let kept = at_most.min(moves);
        moves = moves - kept;
        *left.entry(Stays::ThreadState).or_default() += kept;
    }
    left.retain(|_, bytes| *bytes > Bytes::ZERO);
    Fate {
        name: holds.name,
        comm: plimsoll_proc::text::printable(&holds.status.name).into_owned(),
        moves,
        left,
    }
}
