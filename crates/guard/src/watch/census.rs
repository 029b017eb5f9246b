//! Processes that no group of their own tells apart: the largest of them are workloads too. And what has to be known of every
//! process: who leads a session with a terminal, who is the guard's own.

use super::groups::Groups;
use super::path::ShortPath;
use super::stopped::{StoppedDir, each_name};
use crate::name::Name;
use crate::observation::{Host, Id, Shield, Standing, Workload};
use plimsoll_proc::kernel_text;
use plimsoll_proc::process::stat;
use plimsoll_proc::text::{lines, number, words};
use plimsoll_units::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// How many are kept.
const LARGEST: usize = 32;

/// How many of the guard's own can be named: itself, its helpers, and those that it descends from.
const OWN: usize = 32;

/// `PF_KTHREAD` of `linux/sched.h`
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Microseconds of a clock tick; `USER_HZ` is 100 on every architecture that this runs on.
const TICK_US: u64 = 10_000;

/// One of the largest, as the last survey found it.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    pid: u32,
    start_ticks: u64,
    rss: u64,
    name: Name,
    shield: Option<Shield>,
    holds_lock: bool,
}

#[derive(Debug)]
pub(super) struct Census {
    proc: OwnedFd,
    own: [u32; OWN],
    largest: [Found; LARGEST],
    page_bytes: u64,
}

/// What is wanted of `/proc/PID/stat`.
struct Line<'t> {
    comm: &'t [u8],
    session: u64,
    has_terminal: bool,
    is_kernel: bool,
    cpu_us: u64,
    start_ticks: u64,
    rss: u64,
}

impl<'t> Line<'t> {
    fn of(text: &'t [u8], page_bytes: u64) -> Option<Self> {
        let field = |place| number(stat::field(text, place)?);
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        Some(Self {
            comm: text.get(open.checked_add(1)?..close)?,
            session: field(6)?,
            has_terminal: stat::field(text, 7)? != b"0",
            is_kernel: field(9)? & KERNEL_THREAD != 0,
            cpu_us: field(14)?
                .saturating_add(field(15)?)
                .saturating_mul(TICK_US),
            start_ticks: field(22)?,
            rss: field(24)?.saturating_mul(page_bytes),
        })
    }
}

impl Census {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut census = Self {
            proc: openat(CWD, c"/proc", flags, Mode::empty())?,
            own: [0; OWN],
            largest: [Found::default(); LARGEST],
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(0),
        };
        let mut pid = std::process::id();
        let mut text = [0; 4096];
        while pid > 1 {
            census.spare(pid);
            let line = census.stat(pid, &mut text);
            let parent = line.and_then(|line| number(stat::field(line, 4)?));
            pid = parent.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        }
        Ok(census)
    }

    pub(super) fn spare(&mut self, pid: u32) {
        // A helper that had to be replaced leaves its place to the next.
        if let Some(free) = self.own.iter_mut().find(|own| **own == 0) {
            *free = pid;
        } else {
            self.own.rotate_left(1);
            if let Some(last) = self.own.last_mut() {
                *last = pid;
            }
        }
    }

    fn stat<'b>(&self, pid: u32, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut path = ShortPath::default();
        let file =
            kernel_text::open(Some(&self.proc), path.of(format_args!("{pid}/stat"))?).ok()?;
        kernel_text::read(file, buffer)
    }

    /// Goes through all processes.
    pub(super) fn survey(&mut self, groups: &mut Groups, host: &Host, buffer: &mut [u8]) {
        let least = host.total_bytes.get() / 512;
        let mut largest = [Found::default(); LARGEST];
        each_name(&self.proc, |name| {
            let pid = number(name).and_then(|pid| u32::try_from(pid).ok());
            let Some(pid) = pid else { return };
            let text = self.stat(pid, buffer);
            let Some(line) = text.and_then(|text| Line::of(text, self.page_bytes)) else {
                return; // it has ended
            };
            if line.is_kernel {
                return;
            }
            let leads = line.session == u64::from(pid) && line.has_terminal;
            let shield = match pid {
                1 => Some(Shield::Init),
                _ if self.own.contains(&pid) => Some(Shield::Itself),
                _ => None,
            };
            if let Some(slot) = groups.slot_of(pid) {
                let apart = !groups.is_one(slot);
                groups.count(slot, line.cpu_us, leads, shield);
                if !apart {
                    return;
                }
            }
            if line.rss >= least {
                let shield = shield.or(leads.then_some(Shield::SessionLeader));
                let found = Found {
                    pid,
                    start_ticks: line.start_ticks,
                    rss: line.rss,
                    name: Name::of(line.comm),
                    shield,
                    holds_lock: false,
                };
                keep(&mut largest, found);
            }
        });
        groups.counted();
        self.largest = largest;
    }

    pub(super) fn release_locks(&mut self) {
        for found in &mut self.largest {
            found.holds_lock = false;
        }
    }

    pub(super) fn holds_lock(&mut self, pid: u32) {
        for found in self.largest.iter_mut().filter(|found| found.pid == pid) {
            found.holds_lock = true;
        }
    }

    pub(super) fn read(
        &self,
        buffer: &mut [u8],
        stopped: &StoppedDir,
        workloads: &mut Vec<Workload>,
    ) {
        for found in self.largest.iter().filter(|found| found.pid > 0) {
            if workloads.len() == workloads.capacity() {
                return;
            }
            workloads.extend(self.workload(found, buffer, stopped));
        }
    }

    /// `None` when it has ended, when its pid is another's by now, and when it runs another program: it may have got a group of its
    /// own since the survey.
    fn workload(&self, found: &Found, buffer: &mut [u8], stopped: &StoppedDir) -> Option<Workload> {
        let line = Line::of(self.stat(found.pid, buffer)?, self.page_bytes)?;
        if line.start_ticks != found.start_ticks || Name::of(line.comm) != found.name {
            return None;
        }
        let cpu_us = line.cpu_us;
        let mut path = ShortPath::default();
        let path = path.of(format_args!("{}/status", found.pid))?;
        let text = kernel_text::read(kernel_text::open(Some(&self.proc), path).ok()?, buffer)?;
        let kib = |name: &[u8]| {
            let line = lines(text).find(|line| line.starts_with(name))?;
            Some(Bytes::from_kib(number(words(line).nth(1)?)?))
        };
        let id = Id::Process {
            pid: found.pid,
            start_ticks: found.start_ticks,
        };
        let (standing, note) = stopped.standing(id, stopped.is_parked(found.pid), false);
        if standing == Standing::Running {
            stopped.forget(id);
        }
        Some(Workload {
            id,
            name: found.name,
            usage_bytes: kib(b"VmRSS:")?,
            anon_bytes: kib(b"RssAnon:")?,
            swap_bytes: kib(b"VmSwap:").unwrap_or(Bytes::ZERO),
            cpu_us,
            shield: found
                .shield
                .or(found.holds_lock.then_some(Shield::HoldsLock)),
            standing,
            stopped_for: note.map(|note| note.cause),
            was_idle: note.is_some_and(|note| note.was_idle),
            ..Workload::default()
        })
    }
}

/// Keeps one if it is among the largest.
fn keep(largest: &mut [Found; LARGEST], found: Found) {
    let smaller = largest.iter().position(|other| other.rss < found.rss);
    if let Some(tail) = smaller.and_then(|place| largest.get_mut(place..)) {
        tail.rotate_right(1);
        if let Some(place) = tail.first_mut() {
            *place = found;
        }
    }
}
