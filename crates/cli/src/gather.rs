//! Calls the readers and hands what they bring to the ledger. One source that fails spoils no other: what it would have shown is
//! named in `unseen`.

use crate::args::{self, Pss, View};
use crate::failure::Failure;
use plimsoll_explain::findings::Account;
use plimsoll_ledger::Sample;
use plimsoll_ledger::commit::{self, Promises, Recount};
use plimsoll_ledger::look::{Look, Unseen};
use plimsoll_ledger::mappings::{Part, Parts};
use plimsoll_ledger::process::Shares;
use plimsoll_ledger::process::share;
use plimsoll_proc::found::{Found, LookError, Search};
use plimsoll_proc::host::HostSampler;
use plimsoll_proc::mountinfo;
use plimsoll_proc::passwd::Users;
use plimsoll_proc::process::sample::Samples;
use plimsoll_proc::process::status::Status;
use plimsoll_proc::process::walk::walk;
use plimsoll_proc::process::{mappings, smaps, smaps_rollup};
use plimsoll_proc::state::State;
use plimsoll_proc::text::printable;
use plimsoll_proc::{Root, page_size, sysvipc_shm};
use plimsoll_units::PageSize;
use std::path::Path;

/// Of which processes mappings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mappings {
    /// Of those that it stalls only shortly.
    Cheap,
    All,
}

/// What is read besides the host's counters, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What pipes, sockets and the like hold.
    pub(crate) found: bool,
    pub(crate) processes: bool,
    pub(crate) groups: bool,
    /// Every mapping of every process.
    pub(crate) mappings: Option<Mappings>,
    /// The kernel's object caches, one by one.
    pub(crate) slab_caches: bool,
    pub(crate) pss: Option<Pss>,
}

impl Wanted {
    /// What a view shows; a document shows all but what has to be asked for.
    pub(crate) fn of(args: &args::Look) -> Self {
        let view = args.view.as_ref();
        let all = args.json;
        Self {
            found: all || view.is_none(),
            processes: all || !matches!(view, None | Some(View::Slab | View::Commit)),
            groups: all || matches!(view, Some(View::Groups | View::Group(_))),
            mappings: matches!(view, Some(View::Commit)).then_some(Mappings::All),
            slab_caches: matches!(view, Some(View::Slab)),
            pss: args.pss,
        }
    }

    /// What findings are made from.
    pub(crate) fn for_findings() -> Self {
        Self {
            slab_caches: true,
            ..Self::everything(Mappings::Cheap)
        }
    }

    /// What any view is made from.
    pub(crate) fn everything(mappings: Mappings) -> Self {
        Self {
            found: true,
            processes: true,
            groups: true,
            mappings: Some(mappings),
            slab_caches: false,
            pss: None,
        }
    }
}

/// The readers, with what they keep open from one look to the next.
#[derive(Debug)]
pub(crate) struct Gatherer<'r> {
    root: &'r Root,
    page: PageSize,
    host: HostSampler<'r>,
    first: bool,
}

impl<'r> Gatherer<'r> {
    /// Opens what stays open.
    pub(crate) fn new(root: &'r Root) -> Result<Self, Failure> {
        let not_a_host = |error| {
            Failure::from(error).hint(if root.is_live() {
                "is /proc mounted?"
            } else {
                "a captured tree is one that `plimsoll capture` wrote"
            })
        };
        Ok(Self {
            root,
            page: page_size::read(root).map_err(not_a_host)?,
            host: HostSampler::open(root).map_err(not_a_host)?,
            first: true,
        })
    }

    /// Looks once.
    pub(crate) fn look(&mut self, wanted: &Wanted) -> Result<Look, Failure> {
        self.sample(wanted).map(plimsoll_ledger::look)
    }

    /// Looks once, and keeps what the account leaves out and explanations need.
    pub(crate) fn account(&mut self, wanted: &Wanted) -> Result<Account, Failure> {
        let sample = self.sample(wanted)?;
        let found = sample.found.clone();
        let look = plimsoll_ledger::look(sample);
        let state = State::read(self.root, self.page);
        Ok(Account { look, found, state })
    }

    fn sample(&mut self, wanted: &Wanted) -> Result<Sample<'_>, Failure> {
        if !std::mem::take(&mut self.first) {
            self.host.read_slow();
        }
        let mut unseen = Vec::new();
        // The walks come first and the counters last: what walking itself takes and gives back is settled by then.
        let (found, samples) = self.walk(wanted, &mut unseen);
        unseen.extend(samples.as_ref().and_then(|samples| self.hidden(samples)));
        let processes = samples.map(|samples| (samples, self.users(&mut unseen)));
        let groups = wanted
            .groups
            .then(|| plimsoll_cgroup::sample::Sample::read(self.root));
        let shares = match (&processes, wanted.pss) {
            (Some((samples, _)), Some(which)) => self.shares(samples, which, &mut unseen),
            _ => Shares::new(),
        };
        let promises = self.promises(wanted.mappings, &mut unseen);
        Ok(Sample {
            host: self.host.sample()?,
            slab_caches: wanted.slab_caches,
            found,
            processes,
            shares,
            promises,
            groups,
            unseen,
        })
    }

    fn shares(&self, samples: &Samples, which: Pss, unseen: &mut Vec<Unseen>) -> Shares {
        let mut shares = Shares::new();
        for process in &samples.processes {
            let refusal = match which {
                Pss::Cheap => share::refusal(&process.status),
                Pss::All => None,
            };
            if let Some(refusal) = refusal {
                unseen.push(refusal);
                continue;
            }
            let pid = process.status.pid;
            match smaps_rollup::read(self.root, pid) {
                Ok(usage) => {
                    shares.insert(pid, usage.pss);
                }
                Err(error) if error.is_gone() => {}
                Err(error) => unseen.push(not_seen(
                    &format!("the proportional share of process {pid}"),
                    &error,
                )),
            }
        }
        shares
    }

    fn promises(&self, mappings: Option<Mappings>, unseen: &mut Vec<Unseen>) -> Option<Promises> {
        let read = |path| self.root.read(path);
        let policy = match read("proc/sys/vm/overcommit_memory") {
            Ok(mode) => commit::policy(&mode)?,
            Err(error) => {
                unseen.push(not_seen("the commit account", &error));
                return None;
            }
        };
        let recount = mappings.and_then(|which| {
            let spare =
                |status: &Status| which == Mappings::Cheap && share::refusal(status).is_some();
            let mut recount = Recount::default();
            if let Err(error) = mappings::scan(self.root, spare, |event| recount.take(&event)) {
                unseen.push(not_seen("mappings of processes", &error));
            }
            if recount.is_empty() {
                unseen.push(Unseen {
                    what: "mappings of processes".to_owned(),
                    why: "there are none to read; a recording does not hold them".to_owned(),
                });
                return None;
            }
            Some(recount)
        });
        // A kernel without SysV memory has no such file, and none to count.
        let segments = read("proc/sysvipc/shm").unwrap_or_default();
        Some(Promises {
            policy,
            segments: sysvipc_shm::parse(&segments),
            recount,
        })
    }

    /// One walk over the processes for both who want to see them.
    fn walk(&self, wanted: &Wanted, unseen: &mut Vec<Unseen>) -> (Option<Found>, Option<Samples>) {
        let begin = || Search::begin(self.root, self.page);
        let mut search = wanted.found.then(begin);
        let mut samples = wanted.processes.then(Samples::default);
        // What was found is one answer in a captured tree.
        if samples.is_some() || search.is_some() && self.root.is_live() {
            let walked = walk(self.root, |pid, process| {
                if let (Some(Ok(search)), Ok(process)) = (&mut search, &process) {
                    search.process(process);
                }
                if let Some(samples) = &mut samples {
                    samples.take(pid, process);
                }
            });
            if let Err(error) = walked {
                unseen.push(not_seen("processes", &error));
                return (None, None);
            }
        }
        let found = search.map(|search| search.and_then(Search::finish));
        let not_found = |error: &LookError| {
            unseen.push(not_seen("pipes, sockets and deleted files", error));
        };
        let found = found.and_then(|found| found.inspect_err(not_found).ok());
        (found, samples)
    }

    /// What one process maps; `None` where that may not be read.
    pub(crate) fn mappings(&self, pid: u32) -> Option<Vec<Part>> {
        let mut parts = Parts::default();
        let dir = self.root.open_dir(format!("proc/{pid}")).ok()?;
        smaps::stream_file(&dir, &mut Vec::new(), |smap| parts.take(smap)).ok()?;
        Some(parts.biggest_first())
    }

    fn users(&self, unseen: &mut Vec<Unseen>) -> Users {
        Users::read(self.root).unwrap_or_else(|error| {
            unseen.push(not_seen("names of users", &error));
            Users::default()
        })
    }

    /// A `/proc` that hides processes hides the first, unless the reader is let in.
    fn hidden(&self, samples: &Samples) -> Option<Unseen> {
        if samples
            .processes
            .iter()
            .any(|process| process.status.pid == 1)
        {
            return None;
        }
        let mounts = mountinfo::parse(&self.root.read("proc/self/mountinfo").ok()?);
        let proc = mounts
            .iter()
            .rfind(|mount| mount.mount_point == Path::new("/proc"))?;
        let option = proc.super_options.split(|&byte| byte == b',');
        let hidepid = option
            .into_iter()
            .find(|option| option.starts_with(b"hidepid="))?;
        Some(Unseen {
            what: "processes of other users".to_owned(),
            why: format!(
                "/proc is mounted with {}; root sees them, and members of the group in its option gid=",
                printable(hidepid)
            ),
        })
    }
}

/// A source that could not be read at all.
fn not_seen(what: &str, error: &dyn std::error::Error) -> Unseen {
    Unseen {
        what: what.to_owned(),
        why: format!("{:#}", anyhow::anyhow!("{error}")),
    }
}
