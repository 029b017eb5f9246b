//! Memory that comes later (`restore --lazy`): which pages a process is made without, and what makes it wait for them.
//!
//! Served later is private anonymous memory with nothing special about it; what threads stand on and point to is there at once
//! ([`plimsoll_image::lazy`]). A child is born with what its parent has in memory: of that it gets its own at once, too.
//! The pager, and what becomes of a tree whose pager is killed, are those of `park` ([`plimsoll_park::restored`]).

use super::crew::Crew;
use super::memory::Pages;
use super::task::Task;
use super::transport::Transport;
use crate::error::Error;
use crate::snapshot::{Process, Snapshot};
use plimsoll_image::lazy::{needed, served};
use plimsoll_park::ParkError;
use plimsoll_park::restored::{Bare, HIGH_NUMBERS, Promised, arm, promise};
use plimsoll_park::runtime::Runtime;
use plimsoll_proc::Root;
use plimsoll_surgery::tree::ProcessName;
use plimsoll_sys::Span;
use plimsoll_sys::uffd::{CreateFlags, DEVICE, IOC_NEW};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::Path;

/// What all processes of a tree are made without. Nothing, by default.
#[derive(Debug, Default)]
pub(super) struct Later {
    processes: BTreeMap<u32, Plan>,
    /// The root of the tree.
    top: u32,
}

#[derive(Debug, Default)]
struct Plan {
    comm: String,
    /// Mappings that can be served.
    served: Vec<Span>,
    /// Pages of them that are needed at once.
    needed: Vec<Span>,
    /// Where no page is brought at once, once that is settled.
    absent: Vec<Span>,
    /// Mappings to be armed: those with stored pages.
    armed: Vec<Span>,
    /// The number of its userfaultfd.
    uffd: Option<i32>,
}

impl Later {
    /// What can be known from the images.
    pub(super) fn plan(snapshot: &Snapshot) -> Self {
        let mut holders: BTreeMap<u32, u32> = BTreeMap::new();
        for process in &snapshot.processes {
            *holders.entry(process.ids.files_id).or_default() += 1;
        }
        let mut later = Self {
            processes: BTreeMap::new(),
            top: snapshot.processes.first().map_or(0, Process::pid),
        };
        for process in &snapshot.processes {
            let Some(mm) = &process.mm else { continue };
            let cores = process.threads.iter().map(|(_, core)| core);
            let comm = process.whole().map(|whole| whole.comm.clone());
            // Two in one table could not tell their descriptors from each other's.
            let alone = holders.get(&process.ids.files_id) == Some(&1);
            let plan = Plan {
                comm: String::from_utf8_lossy(&comm.unwrap_or_default()).into_owned(),
                served: if alone { spans(served(mm)) } else { Vec::new() },
                needed: spans(needed(mm, cores)),
                ..Plan::default()
            };
            later.processes.insert(process.pid(), plan);
        }
        later
    }

    /// Where a process has no page yet though some are stored.
    pub(super) fn absent(&self, pid: u32) -> &[Span] {
        let plan = self.processes.get(&pid);
        plan.map_or(&[], |plan| plan.absent.as_slice())
    }

    /// Settles where a process gets no pages at once. `stored` are all its pages, `present` those that it is born with.
    pub(super) fn settle(&mut self, pid: u32, stored: &Pages, present: Option<&Pages>) {
        let Some(plan) = self.processes.get_mut(&pid) else {
            return;
        };
        let present: Vec<Span> = present.into_iter().flat_map(Pages::spans).collect();
        plan.absent = Span::without(&Span::without(&plan.served, &plan.needed), &present);
        let any_is_absent = plan
            .absent
            .iter()
            .any(|span| stored.within(*span).next().is_some());
        if any_is_absent {
            let has_pages = |span: &&Span| stored.within(**span).next().is_some();
            plan.armed = plan.served.iter().filter(has_pages).copied().collect();
        } else {
            plan.absent.clear();
        }
    }

    /// Makes a userfaultfd in every process that waits for pages, while it may.
    pub(super) fn equip(&mut self, crew: &mut Crew, transport: &Transport) -> Result<(), Error> {
        let waiting = self.processes.iter_mut();
        for (pid, plan) in waiting.filter(|(_, plan)| !plan.armed.is_empty()) {
            let member = crew.member(*pid)?;
            plan.uffd = Some(create(&mut member.leader, transport, member.socket)?);
        }
        Ok(())
    }

    /// Puts on record where the pages are, and arms the memory. From here on a page that is absent must not be touched.
    /// `None` where nothing is to come.
    pub(super) fn promise(
        &self,
        root: &Root,
        runtime: &Runtime,
        images: &Path,
    ) -> Result<Option<Promised>, Error> {
        if self.processes.values().all(|plan| plan.armed.is_empty()) {
            return Ok(None);
        }
        let mut bare = Vec::new();
        for (pid, plan) in &self.processes {
            let name = ProcessName::of(root, *pid)?.ok_or(Error::NoProcess(*pid))?;
            let process = Bare {
                name,
                comm: plan.comm.clone(),
                uffd: plan.uffd,
            };
            bare.push((process, &plan.armed));
        }
        bare.sort_by_key(|(process, _)| process.name.pid != self.top);
        let processes: Vec<Bare> = bare.iter().map(|(process, _)| process.clone()).collect();
        let promised = promise(root, runtime, images, &processes)?;
        let mut all = bare.iter();
        match all.try_for_each(|(process, spans)| arm(process, spans)) {
            Ok(()) => Ok(Some(promised)),
            Err(error) => {
                promised.withdraw()?;
                Err(error.into())
            }
        }
    }
}

/// Makes a userfaultfd with a number that a program's own descriptors rarely reach.
fn create(task: &mut Task, transport: &Transport, socket: u32) -> Result<i32, Error> {
    let what = "make a userfaultfd in";
    let flags = u64::from((CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).bits());
    let low = match task.try_call(what, libc::SYS_userfaultfd, [flags])? {
        Ok(low) => low,
        Err(errno) => by_device(task, transport, socket, flags, errno)?,
    };
    for least in HIGH_NUMBERS {
        let dupfd = libc::F_DUPFD_CLOEXEC.unsigned_abs().into();
        if let Ok(high) = task.try_call(what, libc::SYS_fcntl, [low, dupfd, least])? {
            task.call("close a descriptor", libc::SYS_close, [low])?;
            return Ok(i32::try_from(high).unwrap_or(-1));
        }
    }
    Ok(i32::try_from(low).unwrap_or(-1))
}

/// Who may open the device needs no other privilege (Linux 6.1). `refused`: what the call said.
fn by_device(
    task: &mut Task,
    transport: &Transport,
    socket: u32,
    flags: u64,
    refused: Errno,
) -> Result<u64, Error> {
    let pid = task.tid.as_raw_pid().unsigned_abs();
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let device = device.map_err(|_| ParkError::NoUserfaultfd {
        pid,
        source: refused,
    })?;
    let number = u64::from(transport.hand_over(task, socket, device.as_fd())?);
    let what = "make a userfaultfd in";
    let made = task.call(what, libc::SYS_ioctl, [number, IOC_NEW.into(), flags])?;
    task.call("close a descriptor", libc::SYS_close, [number])?;
    Ok(made)
}

fn spans(ranges: Vec<(u64, u64)>) -> Vec<Span> {
    let each = ranges.into_iter();
    each.map(|(start, end)| Span { start, end }).collect()
}
