//! From what the readers brought to the account that people and programs see.

use crate::commit::{self, Promises};
use crate::found;
use crate::groups::{self, Resident};
use crate::host::{self, Discovered};
use crate::look::{Look, SCHEMA, Unseen};
use crate::process::{self, Shares};
use plimsoll_proc::found::Found;
use plimsoll_proc::host::HostSample;
use plimsoll_proc::passwd::Users;
use plimsoll_proc::process::sample::Samples;
use std::collections::HashMap;

/// What readers bring for one look. Each part may be missing, because it was not asked for or could not be
/// read; the second is said in `unseen`.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The host's counters.
    pub host: HostSample<'a>,
    /// Whether the kernel's object caches are told one by one.
    pub slab_caches: bool,
    /// What looking found that no counter names.
    pub found: Option<Found>,
    /// Every process, and the names of users.
    pub processes: Option<(Samples, Users)>,
    /// Proportional shares, where they were asked for.
    pub shares: Shares,
    /// The commit account.
    pub promises: Option<Promises>,
    /// Every control group.
    pub groups: Option<plimsoll_cgroup::sample::Sample>,
    /// What the readers did not see.
    pub unseen: Vec<Unseen>,
}

/// The whole account.
#[must_use]
pub fn look(sample: Sample<'_>) -> Look {
    let mut unseen = sample.unseen;
    let mut discovered = Discovered::default();
    if let Some(found) = &sample.found {
        discovered = found::discovered(found, &sample.host);
        unseen.extend(found::unseen(found, &sample.host));
    }
    let mut accounted = host::account(&sample.host, &discovered);
    if sample.slab_caches {
        accounted.host.slab_caches = host::slab_caches(&sample.host);
    }
    unseen.extend(accounted.unseen);
    let resident = sample
        .processes
        .as_ref()
        .map(|(samples, _)| by_pid(samples))
        .unwrap_or_default();
    let mut processes = Vec::new();
    if let Some((samples, users)) = &sample.processes {
        processes = process::rows(&samples.processes, users, &sample.shares);
        unseen.extend(process::unseen(samples));
    }
    let commit = sample
        .promises
        .and_then(|promises| commit::account(&sample.host.meminfo, promises));
    unseen.extend(commit.iter().flat_map(commit::unseen));
    let groups = sample
        .groups
        .map(|groups| groups::account(&groups, &resident));
    let (groups, unseen_groups) = groups.unwrap_or_default();
    unseen.extend(unseen_groups);
    Look {
        schema: SCHEMA,
        host: accounted.host,
        commit,
        processes,
        groups,
        unseen,
    }
}

fn by_pid(samples: &Samples) -> HashMap<u32, Resident> {
    let with_memory = samples.processes.iter().filter_map(|process| {
        let vm = process.status.vm?;
        let resident = Resident {
            anon: vm.rss_anon.unwrap_or_default(),
            file: vm.rss_file.unwrap_or_default(),
            shmem: vm.rss_shmem.unwrap_or_default(),
        };
        Some((process.status.pid, resident))
    });
    with_memory.collect()
}
