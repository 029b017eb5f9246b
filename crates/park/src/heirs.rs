//! The address spaces of a tree that gets its memory back: those of its processes, and of the children that they fork
//! meanwhile.
//!
//! A child's userfaultfd is given to the pager that reads of the fork, and to nobody else. So the child is adopted: found
//! among the young processes, stopped for a moment, and the descriptor put into its own table, as each process of
//! the tree has its own; which child that is, is written down before. Until then a guardian holds the descriptor
//! ([`crate::session`]). A pager that takes over finds them again by the logs of the forks.

use crate::ParkError;
use crate::arm;
use crate::fault_point::fault_point;
use crate::hand;
use crate::pager::{Pager, Past, PastFork, Probe, Space};
use crate::plan::Plan;
use crate::runtime::{Child, Entry, Logs, Record};
use crate::session::Guarded;
use crate::store::Slot;
use crate::view::View;
use plimsoll_proc::Root;
use plimsoll_proc::process::sample::pids;
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::{Extent, ProcessName};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Pagemap;
use plimsoll_sys::uffd::{EventLog, Uffd, serves};
use plimsoll_units::PageSize;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::Pid;
use std::time::Duration;

/// How long a child may take to come to a stand; it is tried again.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);

/// Where programs have memory: what `UFFDIO_WAKE` may be given, on every kernel.
const EVERYWHERE: Span = Span {
    start: 1 << 20,
    end: (1 << 47) - (1 << 16),
};

/// A tree with its record.
pub(crate) struct Heirs<'h> {
    pub(crate) root: &'h Root,
    pub(crate) entry: &'h Entry,
    pub(crate) record: &'h Record,
    /// The session of our pager; `None` where the tree stands, and can't fork.
    pub(crate) session: Option<u64>,
    pub(crate) page_size: PageSize,
}

/// Of one process or child, while a family is gathered.
struct Line {
    slot: Slot,
    logs: Logs,
    parked: View,
}

impl Heirs<'_> {
    /// Listens to everybody who has a descriptor, and wakes who waits for a pager that is no more.
    pub(crate) fn spaces(&self) -> Result<Vec<Space>, ParkError> {
        let sessions = self.entry.sessions()?;
        let mut spaces = Vec::new();
        for (slot, member) in (0..).zip(&self.record.processes) {
            let everywhere = View::parked([Span {
                start: 0,
                end: u64::MAX,
            }]);
            let line = Line {
                slot: Slot(slot),
                logs: self.entry.logs(slot),
                parked: everywhere,
            };
            let own = self.of_member(member.name)?;
            self.gather(line, own, &sessions, &mut spaces)?;
        }
        for space in &spaces {
            space.wake([EVERYWHERE]);
        }
        Ok(spaces)
    }

    fn of_member(&self, name: ProcessName) -> Result<Option<(Uffd, Option<u32>)>, ParkError> {
        if !name.lives(self.root)? {
            return Ok(None);
        }
        let armed = !Plan::armed_now(self.root, name.pid)?.is_empty();
        // No descriptor: it called `execve(2)`. Nothing armed: there is nothing to bring back.
        let number = arm::held(self.root, name.pid)?.pop().filter(|_| armed);
        let uffd = number.map(|number| arm::take_again(name.pid, number));
        Ok(uffd.transpose()?.map(|uffd| (uffd, Some(name.pid))))
    }

    /// A process and the children that it forked, and theirs.
    fn gather(
        &self,
        line: Line,
        own: Option<(Uffd, Option<u32>)>,
        sessions: &[Guarded],
        spaces: &mut Vec<Space>,
    ) -> Result<(), ParkError> {
        for (number, fork) in (0..).zip(self.forks(&line)?) {
            let logs = line.logs.of_child(number);
            let own = self.of_child(&logs, &fork, sessions)?;
            let line = Line {
                slot: line.slot,
                logs,
                parked: fork.view,
            };
            self.gather(line, own, sessions, spaces)?;
        }
        if let Some((uffd, pid)) = own {
            let Line { slot, logs, parked } = line;
            let space = Space::new(slot, pid, uffd, parked, logs, self.session);
            let space = space.map_err(|error| self.failed("listen to")(errno(&error)))?;
            spaces.push(self.known(space));
        }
        Ok(())
    }

    /// The same space, with what helps to bring it back: nothing fails without.
    fn known(&self, space: Space) -> Space {
        let pid = space.pid();
        let raw = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pagemap = raw.and_then(|pid| Pagemap::open(pid, self.page_size).ok());
        let names = self.record.processes.iter().map(|member| member.name);
        let member = names.into_iter().find(|name| Some(name.pid) == pid);
        let touches = member.map(|name| self.entry.first_touches(name));
        space.with(pagemap, touches.unwrap_or_default())
    }

    fn forks(&self, line: &Line) -> Result<Vec<PastFork>, ParkError> {
        let log = line.logs.open().and_then(|log| Ok(EventLog::open(log)?));
        let log = log.map_err(|error| self.failed("read the log of")(errno(&error)))?;
        Ok(Past::of(&log, line.parked.clone()).forks)
    }

    /// The descriptor of a child: out of its own table, where it has one, else from the guardian.
    fn of_child(
        &self,
        logs: &Logs,
        fork: &PastFork,
        sessions: &[Guarded],
    ) -> Result<Option<(Uffd, Option<u32>)>, ParkError> {
        if let Some(child) = logs.who().read_if_there::<Child>()? {
            let pid = child.name.pid;
            if !child.name.lives(self.root)? || Plan::armed_now(self.root, pid)?.is_empty() {
                return Ok(None);
            }
            if let Some(number) = self.number_in(&child)? {
                return Ok(Some((arm::take_again(pid, number)?, Some(pid))));
            }
        }
        let session = fork.session.and_then(|number| usize::try_from(number).ok());
        let Some(session) = session.and_then(|number| sessions.get(number)) else {
            return Ok(None);
        };
        let taken = session.take(self.root, fork.number)?;
        let taken = taken.filter(|fd| is_uffd(fd.as_fd()) && serves(fd.as_fd()));
        Ok(taken.map(|fd| (Uffd::resumed(fd, arm::FEATURES), None)))
    }

    /// The number of a child's own descriptor. Killed between handing it over and writing that down, it is the one that
    /// the child did not inherit: its forebears have theirs under other numbers.
    fn number_in(&self, child: &Child) -> Result<Option<i32>, ParkError> {
        let held = arm::held(self.root, child.name.pid)?;
        if let Some(number) = child.uffd {
            return Ok(Some(number).filter(|number| held.contains(number)));
        }
        let members = self.record.processes.iter().filter_map(|it| it.uffd);
        let inherited: Vec<i32> = members
            .chain(self.record.children.iter().filter_map(|it| it.uffd))
            .collect();
        Ok(held.into_iter().find(|held| !inherited.contains(held)))
    }

    /// Finds the process whose memory a space is, and gives it the descriptor. `false` when it has to be tried again.
    pub(crate) fn adopt(&self, pager: &Pager<'_>, space: &Space) -> bool {
        if space.is_gone() || !serves(space.uffd().as_fd()) {
            return true;
        }
        let Ok(young) = self.young(pager) else {
            return false;
        };
        for name in young {
            match self.is_its_memory(pager, space, name) {
                Ok(Probe::Its) => return self.equip(space, name).unwrap_or(false),
                Ok(Probe::Gone) => return true,
                // It may end while it is looked at.
                Ok(Probe::NotKnown | Probe::EventFirst) | Err(_) => {}
            }
        }
        false
    }

    fn is_its_memory(
        &self,
        pager: &Pager<'_>,
        space: &Space,
        name: ProcessName,
    ) -> Result<Probe, ParkError> {
        let pid = name.pid().ok_or(ParkError::NoProcess(name.pid))?;
        let pagemap = Pagemap::open(pid, self.page_size);
        let pagemap =
            pagemap.map_err(|error| self.failed("open the page map of")(errno(&error)))?;
        let probe = pager.probe(space, &pagemap);
        probe.map_err(|_| self.failed("look for")(Errno::IO))
    }

    /// Processes that were born since the tree was parked and are not known yet. The oldest first: memory that a child shares
    /// with one of its own (`vfork(2)`) is the elder's.
    fn young(&self, pager: &Pager<'_>) -> Result<Vec<ProcessName>, ParkError> {
        let members = &self.record.processes;
        let since = members.iter().map(|member| member.name.start_ticks).max();
        let known = pager.pids();
        let us = std::process::id();
        let mut young = Vec::new();
        for pid in pids(self.root)? {
            if pid == us || known.contains(&pid) {
                continue;
            }
            let name = ProcessName::of(self.root, pid)?;
            young.extend(name.filter(|name| Some(name.start_ticks) >= since));
        }
        young.sort_unstable_by_key(|name| (name.start_ticks, name.pid));
        Ok(young)
    }

    /// Puts the descriptor into the child's table.
    fn equip(&self, space: &Space, name: ProcessName) -> Result<bool, ParkError> {
        let mut tree = StoppedTree::stop(self.root, name.pid, Extent::Only, STOP_TIMEOUT)?;
        let who = space.who();
        who.write(&Child { name, uffd: None })?;
        fault_point("child-found");
        for process in &mut tree.processes {
            let mut operation = Operation::begin(self.root, process)?;
            let Ok(low) = hand::over(&mut operation, space.uffd().as_fd())? else {
                return Ok(false); // its table is full
            };
            let number = arm::out_of_the_way(&mut operation, low)?;
            fault_point("child-equipped");
            who.write(&Child {
                name,
                uffd: Some(number),
            })?;
            space.is_of(name.pid);
        }
        fault_point("child-adopted");
        Ok(space.pid().is_some())
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(Errno) -> ParkError {
        let pid = self.record.processes.first().map_or(0, |it| it.name.pid);
        move |source| ParkError::Process {
            operation,
            pid,
            source,
        }
    }
}

fn is_uffd(fd: rustix::fd::BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]")
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
