//! Images to a tree: tasks of our own with the old pids, each made to what the images say by calls that it executes for us.
//!
//! ```text
//! task, transport, space   what it is done with: a held task, a way in for open files, an address space made bare
//! crew                     all tasks of a tree; who fails to become a tree is ended
//! tree                     pids, parents, sessions, groups, zombies
//! memory, files, ...       one resource each
//! later                    memory that comes when the tree runs
//! ```
//!
//! Everything that can be refused is refused before the first task is made. Registers, signal masks and the end of the hold
//! come last, for all tasks at once: until then nothing of the tree runs, and should we die the kernel ends it.

mod aio;
mod cgroups;
mod check;
mod credentials;
mod crew;
mod figures;
mod files;
mod inherited;
mod ipc;
mod kernel_mappings;
mod later;
mod memory;
mod process;
mod seccomp;
mod signals;
mod space;
mod task;
mod threads;
mod timers;
mod transport;
mod tree;

use crate::error::Error;
use crate::fault_point::fault_point;
use crate::set::Reading;
use crate::snapshot::Snapshot;
use cgroups::Groups;
pub use cgroups::{GroupRoots, ManageGroups};
use crew::Crew;
pub use figures::Figures;
use files::Files;
use later::Later;
use plimsoll_park::restored::Promised;
use plimsoll_park::runtime::Runtime;
use plimsoll_proc::Root;
pub use plimsoll_sys::blank::Kinship;
use std::path::Path;
use std::time::Instant;
use transport::Transport;
use tree::Ready;

/// What is to be restored.
#[derive(Debug)]
pub struct Restore<'r> {
    /// Where `/proc` is.
    pub root: &'r Root,
    /// Where the images are.
    pub directory: &'r Path,
    /// Whose child the tree becomes.
    pub kinship: Kinship,
    /// Leave it stopped (SIGSTOP).
    pub stopped: bool,
    /// TCP connections come back closed (`--tcp-close`), as they do from a set that says so.
    pub tcp_close: bool,
    /// What is done about control groups.
    pub groups: ManageGroups,
    /// Control groups that take the place of those in the images.
    pub group_roots: &'r GroupRoots,
}

/// A tree was restored, and runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its root's pid.
    pub pid: u32,
    /// Its processes, zombies included.
    pub processes: usize,
    /// What it came to.
    pub figures: Figures,
}

impl Restore<'_> {
    /// Restores the tree.
    ///
    /// # Errors
    /// [`Error`]: there is no tree then, nor any part of one.
    pub fn run(&self) -> Result<Restored, Error> {
        Ok(self.make(None)?.0)
    }

    /// Restores the tree with no more of its memory than it needs at once. The rest is there when somebody has
    /// [kept](Promised::keep) the promise; until then, who touches it waits.
    ///
    /// # Errors
    /// As [`Restore::run`].
    pub fn run_lazily(&self, runtime: &Runtime) -> Result<(Restored, Option<Promised>), Error> {
        self.make(Some(runtime))
    }

    fn make(&self, runtime: Option<&Runtime>) -> Result<(Restored, Option<Promised>), Error> {
        let begun = Instant::now();
        let page_size = plimsoll_proc::page_size::read(self.root)?;
        let set = Reading::new(self.directory);
        let snapshot = Snapshot::read(&set)?;
        let top = check::all(&snapshot)?;
        let transport =
            Transport::new().map_err(|errno| Error::file("make", "a socket pair", errno))?;
        let close = self.tcp_close || snapshot.inventory.tcp_close == Some(true);
        let mut later = runtime.map_or_else(Later::default, |_| Later::plan(&snapshot));
        let mut files = Files::new(&snapshot, &set, page_size, close);
        // Before the tree, so that it goes when nobody is in groups any more.
        let groups = Groups::prepare(&snapshot, self.groups, self.group_roots)?;
        let mut crew = Crew::begin(&snapshot, top, self.kinship, &transport, page_size)?;
        let first_process = begun.elapsed();
        fault_point("bare");
        if let Some(process) = snapshot.processes.first() {
            groups.enter_first(&mut crew.member(top)?.leader, process)?;
        }
        if let Some(own) = &snapshot.ipc {
            files.enter_ipc(ipc::begin(&mut crew.member(top)?.leader, own)?)?;
        }
        let mut supplies = memory::Supplies {
            set: &set,
            transport: &transport,
            files: &mut files,
            later: &mut later,
            page_size,
            pages: 0,
        };
        tree::grow(&mut crew, &snapshot, |member, process, ready| match ready {
            Ready::ForMemory(parent) => {
                groups.enter_process(member, process, parent)?;
                memory::fill(member, process, parent, &mut supplies)
            }
            Ready::ForTerminal => supplies.files.control(member, process.pid(), &transport),
        })?;
        let pages = supplies.pages;
        fault_point("grown");
        for process in &snapshot.processes {
            let Some(mm) = &process.mm else { continue };
            let member = crew.member(process.pid())?;
            memory::finish(&mut member.leader, mm)?;
            threads::make(member, process)?;
        }
        groups.enter_threads(&mut crew, &snapshot)?;
        fault_point("filled");
        files.install(&mut crew, &snapshot, &transport)?;
        later.equip(&mut crew, &transport)?;
        for process in snapshot
            .processes
            .iter()
            .filter(|process| process.mm.is_some())
        {
            let member = crew.member(process.pid())?;
            process::restore(member, process, &transport, &mut files, &snapshot.seccomp)?;
        }
        files.finish(&mut crew, &snapshot, &transport)?;
        groups.finish()?;
        fault_point("restored");
        files.resume()?;
        let promised = match runtime {
            Some(runtime) => later.promise(self.root, runtime, self.directory)?,
            None => None,
        };
        match crew.let_go(&snapshot, self.stopped) {
            Ok(()) => {}
            Err(error) => {
                promised.map(Promised::withdraw).transpose()?;
                return Err(error);
            }
        }
        groups.keep();
        let restored = Restored {
            pid: top,
            processes: snapshot.processes.len(),
            figures: Figures {
                pages,
                first_process,
                took: begun.elapsed(),
            },
        };
        Ok((restored, promised))
    }
}
