//! A tree to images: stopped, looked into resource by resource, written aside and made durable; then it runs on, or is
//! ended.
//!
//! A tree that is to run on is copied ahead while it runs ([`ahead`]). Each other file here knows one resource and adds what
//! it finds to the [`Snapshot`]. Until the set is complete the tree only stands still: a failure, or our end, lets it run on
//! as it was.

mod ahead;
mod calls;
mod cgroups;
mod check;
mod common;
mod credentials;
mod files;
mod ipc;
mod memory;
mod parent;
mod process;
mod seccomp;
mod signals;
mod threads;
mod timers;
mod tree;

use crate::error::Error;
use crate::fault_point::fault_point;
use crate::namespace;
use crate::set::{Place, Writing};
use crate::snapshot::{Process, Snapshot};
use crate::tcp::lock;
use ahead::{Ahead, Kept};
use files::Files;
use files::tcp::Connections;
use memory::{Base, Counts};
use parent::Parent;
use plimsoll_image::proto::{DumpStatsEntry, StatsEntry};
use plimsoll_image::{Kind, VERSION_1_1};
use plimsoll_proc::Root;
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_surgery::tree::Extent;
use plimsoll_units::PageSize;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// What becomes of the tree once its images are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is ended, so that it can be restored.
    End,
    /// It runs on.
    Run,
    /// It is left stopped (SIGSTOP).
    Stop,
}

/// What is to be checkpointed.
#[derive(Debug)]
pub struct Dump<'d> {
    /// Where `/proc` is.
    pub root: &'d Root,
    /// The top of the tree.
    pub pid: u32,
    /// Where the images go.
    pub directory: &'d Path,
    /// How they get there.
    pub place: Place,
    /// A set of the same tree, that this one builds on: what it has alike is not written again. As the link to it says
    /// that is put among the images: from there, where it is relative.
    pub parent: Option<&'d Path>,
    /// Pages are packed (zero pages dropped, equal ones kept once, compressed, with checksums); CRIU can't read them then.
    pub pack: bool,
    /// What becomes of the tree.
    pub after: After,
    /// How long it may take to come to a stand.
    pub timeout: Duration,
    /// What the caller knows and lets pass.
    pub options: Options,
    /// Control groups that are taken along instead of those of the tree, by their hierarchy (`--cgroup-root`).
    pub group_roots: &'d BTreeMap<String, String>,
}

/// What the caller knows and lets pass.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one of CRIU's switches"
)]
pub struct Options {
    /// Its session and terminal are somebody else's, and stay (`--shell-job`).
    pub shell_job: bool,
    /// File locks are taken along (`--file-locks`).
    pub file_locks: bool,
    /// Files whose name is gone, but which another name keeps, get a new one beside the old (`--link-remap`).
    pub link_remap: bool,
    /// Established connections are taken along (`--tcp-established`).
    pub tcp_established: bool,
    /// Connections are closed (`--tcp-close`).
    pub tcp_close: bool,
    /// Packets of connections are not kept away meanwhile (`--network-lock skip`).
    pub skip_network_lock: bool,
    /// Connections that nobody has accepted yet are dropped (`--skip-in-flight`).
    pub skip_in_flight: bool,
    /// Datagram sockets of UNIX may be connected with named ones outside of the tree (`--ext-unix-sk`).
    pub external_unix: bool,
    /// The largest unlinked file that is taken along, in bytes.
    pub ghost_limit_bytes: Option<u64>,
}

/// A tree was checkpointed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// Its processes, zombies included.
    pub processes: usize,
    /// Pages written.
    pub pages: u64,
    /// How long it stood still.
    pub stood_still: Duration,
}

impl Dump<'_> {
    /// Checkpoints the tree.
    ///
    /// # Errors
    /// [`Error`]: the tree runs on as it was, and there are no images.
    pub fn run(&self) -> Result<Dumped, Error> {
        let page_size = plimsoll_proc::page_size::read(self.root)?;
        let obstacles = check::lasting(self.root, self.pid)?;
        if !obstacles.is_empty() {
            return Err(Error::Refused(obstacles));
        }
        let set = Writing::begin(self.directory, self.place)?;
        let ahead = self.ahead(&set, page_size);
        let stood_before = ahead.as_ref().map(|ahead| ahead.stood_still);
        let begun = Instant::now();
        let mut stopped = StoppedTree::stop(self.root, self.pid, Extent::Whole, self.timeout)?;
        fault_point("stopped");
        let stood = || begun.elapsed() + stood_before.unwrap_or_default();
        let mut kept = ahead.and_then(|ahead| ahead.settle(&stopped, &set));
        let stale = kept.as_mut().map(Kept::take_stale);
        let base = self.base(kept, page_size)?;
        let (snapshot, connections, pages) = self.look(&mut stopped, &set, base, page_size)?;
        fault_point("looked");
        snapshot.write(&set)?;
        self.keep_figures(&set, &pages, stood())?;
        fault_point("written");
        let mut stood_still = stood();
        if self.after == After::Run {
            drop(connections);
            drop(stopped);
            stood_still = stood();
            stale.map_or(Ok(()), |stale| stale.cut_out(&set))?;
            self.complete(&set)?;
            set.finish()?;
        } else {
            self.complete(&set)?;
            fault_point("durable");
            set.finish()?;
            fault_point("complete");
            self.conclude(stopped)?;
            if self.after == After::End {
                connections.conclude(&run_id(&snapshot))?;
            }
        }
        Ok(Dumped {
            processes: snapshot.processes.len(),
            pages: pages.written,
            stood_still,
        })
    }

    /// What is done to images once all are there.
    fn complete(&self, set: &Writing) -> Result<(), Error> {
        if let Some(parent) = self.parent {
            set.link_parent(parent)?;
        }
        if self.pack {
            set.pack()?;
        }
        set.sync()
    }

    /// Copies ahead what can be, of a tree that is to run on and builds on no other set. What is packed is made of one set.
    fn ahead(&self, set: &Writing, page_size: PageSize) -> Option<Ahead> {
        if self.after != After::Run || self.parent.is_some() || self.pack {
            return None;
        }
        Ahead::copy(self.root, self.pid, set, self.timeout, page_size)
    }

    /// What pages need not be written again for.
    fn base(&self, kept: Option<Kept>, page_size: PageSize) -> Result<Base, Error> {
        Ok(match (self.parent, kept) {
            (Some(parent), _) => {
                Base::Parent(Parent::open(&self.directory.join(parent), page_size)?)
            }
            (None, Some(kept)) => Base::Ahead(kept),
            (None, None) if self.pack => Base::None,
            (None, None) => Base::Relatives,
        })
    }

    /// `stats-dump`, as CRIU's callers look for it. Times are in microseconds.
    fn keep_figures(&self, set: &Writing, pages: &Counts, stood: Duration) -> Result<(), Error> {
        const NAME: &str = "stats-dump";
        let elapsed = u32::try_from(stood.as_micros()).unwrap_or(u32::MAX);
        let figures = StatsEntry {
            dump: Some(DumpStatsEntry {
                frozen_time: elapsed,
                pages_scanned: pages.written + pages.in_parent,
                pages_skipped_parent: pages.in_parent,
                pages_written: pages.written,
                // Those of shared memory are among the others; callers want the field.
                shpages_written: Some(0),
                ..DumpStatsEntry::default()
            }),
            restore: None,
        };
        let bytes = plimsoll_image::write_all(Kind::Stats, &[figures.into()])
            .map_err(|source| Error::image(NAME, source))?;
        set.put(NAME, &bytes)
    }

    /// All that there is to know of the tree; its pages are written at once.
    fn look(
        &self,
        stopped: &mut StoppedTree,
        set: &Writing,
        base: Base,
        page_size: PageSize,
    ) -> Result<(Snapshot, Connections, Counts), Error> {
        let mut snapshot = Snapshot::default();
        let mut files = Files::new(self.options);
        let mut filters = seccomp::Filters::default();
        let mut memory = memory::Memory::new(set, "", base, page_size);
        let nodes = tree::nodes(self.root, self.pid, stopped)?;
        let objects = tree::Objects::of(&nodes)?;
        objects.refuse_shared(&nodes)?;
        let ipc = ipc::Entered::of(self.pid)?;
        ipc.refuse_undo(stopped)?;
        snapshot.ipc = ipc.look()?;
        let mut groups = cgroups::Groups::new(self.pid)?;
        for node in nodes {
            let mut process = Process {
                node: node.entry,
                ids: objects.ids(node.pid, ipc.is_own),
                ..Process::default()
            };
            match node
                .place
                .and_then(|place| stopped.processes.get_mut(place))
            {
                None => process
                    .threads
                    .push((node.pid, process::zombie(self.root, node.pid)?)),
                Some(standing) => {
                    let asked = process::look(self.root, standing, &mut process)?;
                    filters.look(standing, &mut process)?;
                    for (tid, core) in &mut process.threads {
                        let set = Some(groups.of(node.pid, *tid)?);
                        core.tc.iter_mut().for_each(|whole| whole.cg_set = set);
                        core.thread_core
                            .iter_mut()
                            .for_each(|thread| thread.cg_set = set);
                    }
                    let mm = memory.look(self.root, standing.name.pid, &mut files)?;
                    process.mm = Some(process::memory_fields(
                        self.root, node.pid, asked, mm, &mut files,
                    )?);
                    process.fs = Some(files.fs(self.root, node.pid)?);
                    files.controlling(self.root, node.pid)?;
                    files.table(self.root, node.pid, process.ids.files_id)?;
                }
            }
            snapshot.processes.push(process);
        }
        memory.pages()?;
        if ipc.is_own {
            files.all_segments(page_size)?;
        }
        memory.shared(&files)?;
        let pages = memory.counts();
        let connections = files.finish(&mut snapshot)?;
        snapshot.seccomp = filters.finish();
        snapshot.cgroups = groups.finish(self.group_roots)?;
        snapshot.inventory = inventory(&snapshot, self.options);
        Ok((snapshot, connections, pages))
    }

    /// Ends the tree, or leaves it stopped.
    fn conclude(&self, stopped: StoppedTree) -> Result<(), Error> {
        let signal = match self.after {
            After::End => Signal::KILL,
            After::Stop => Signal::STOP,
            After::Run => return Ok(()),
        };
        let pids: Vec<Pid> = stopped
            .processes
            .iter()
            .filter_map(|process| process.name.pid())
            .collect();
        for pid in &pids {
            // Gone already is what is wanted.
            let _ = kill_process(*pid, signal);
        }
        drop(stopped);
        Ok(())
    }
}

/// The name of this checkpoint, by which the restore finds the lock of its connections.
fn run_id(snapshot: &Snapshot) -> String {
    let id = snapshot.inventory.dump_criu_run_id.as_deref();
    String::from_utf8_lossy(id.unwrap_or_default()).into_owned()
}

fn inventory(snapshot: &Snapshot, options: Options) -> plimsoll_image::proto::InventoryEntry {
    let ids = snapshot.processes.first().map(|top| top.ids);
    plimsoll_image::proto::InventoryEntry {
        img_version: VERSION_1_1,
        fdinfo_per_id: Some(true),
        ns_per_id: Some(true),
        root_ids: ids.map(|ids| plimsoll_image::proto::TaskKobjIdsEntry {
            // Ours: what is shared with the root is not in the images.
            vm_id: 0,
            files_id: 0,
            fs_id: 0,
            sighand_id: 0,
            ipc_ns_id: Some(namespace::IPC.id),
            ..ids
        }),
        tcp_close: options.tcp_close.then_some(true),
        root_cg_set: Some(cgroups::OURS),
        network_lock_method: Some(if options.skip_network_lock {
            lock::SKIP
        } else {
            lock::NFTABLES
        }),
        dump_criu_run_id: Some(lock::new_run_id().into_bytes()),
        lsmtype: Some(plimsoll_image::proto::Lsmtype::NoLsm.into()),
        ..Default::default()
    }
}

pub use check::obstacles;
pub(crate) use credentials::{limits as limits_of, parse as credentials_of};
pub(crate) use signals::settable as settable_signals;
