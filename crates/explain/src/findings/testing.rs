//! A captured host (Linux 6.18, 23.5 GiB, at rest) for the tests of rules: each alters what it is about.

use crate::findings::{Account, Before, Finding, Outcome, Rule, Scene, find};
use plimsoll_ledger::commit::Promises;
use plimsoll_ledger::look::{Group, Policy, Process};
use plimsoll_ledger::{Sample, look};
use plimsoll_proc::Root;
use plimsoll_proc::found::Found;
use plimsoll_proc::host::HostSampler;
use plimsoll_proc::page_size;
use plimsoll_proc::state::State;
use plimsoll_units::Bytes;
use std::fs;
use std::path::Path;

/// The captured files, where they lie on a host.
const FILES: &[(&str, &str)] = &[
    ("plimsoll/page_size", "4096\n"),
    (
        "proc/meminfo",
        include_str!("../../../proc/fixtures/meminfo-6.18.txt"),
    ),
    (
        "proc/zoneinfo",
        include_str!("../../../proc/fixtures/zoneinfo-6.18.txt"),
    ),
    (
        "proc/slabinfo",
        include_str!("../../../proc/fixtures/slabinfo-6.18.txt"),
    ),
    (
        "proc/buddyinfo",
        include_str!("../../../proc/fixtures/buddyinfo-6.18.txt"),
    ),
    (
        "proc/vmstat",
        include_str!("../../../proc/fixtures/vmstat-6.18.txt"),
    ),
    (
        "proc/pressure/memory",
        include_str!("../../../proc/fixtures/pressure-memory-6.12.txt"),
    ),
    (
        "proc/swaps",
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    ),
    (
        "proc/sysvipc/shm",
        "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n",
    ),
    ("proc/sys/fs/dentry-state", "37208\t18590\t45\t0\t4150\t0\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/overcommit_ratio", "50\n"),
    ("proc/sys/vm/overcommit_kbytes", "0\n"),
    ("proc/sys/vm/min_free_kbytes", "67584\n"),
    ("proc/sys/vm/admin_reserve_kbytes", "8192\n"),
    ("proc/sys/vm/user_reserve_kbytes", "100407\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    (
        "proc/self/mountinfo",
        "1 1 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:30 / /home rw - nfs4 files:/home rw\n",
    ),
];

/// The captured host.
pub(crate) fn host() -> Account {
    host_with(&[])
}

/// The same with some of its files replaced.
pub(crate) fn host_with(files: &[(&str, &str)]) -> Account {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in FILES.iter().chain(files) {
        write(dir.path(), path, text);
    }
    let root = Root::captured(dir.path()).unwrap();
    let page = page_size::read(&root).unwrap();
    let state = State::read(&root, page);
    let policy = match state.settings.overcommit_memory {
        Some(2) => Policy::Strict,
        _ => Policy::Heuristic,
    };
    let mut sampler = HostSampler::open(&root).unwrap();
    let look = look(Sample {
        host: sampler.sample().unwrap(),
        slab_caches: true,
        found: Some(Found::default()),
        processes: None,
        shares: Default::default(),
        promises: Some(Promises {
            policy,
            segments: Vec::new(),
            recount: None,
        }),
        groups: None,
        unseen: Vec::new(),
    });
    Account {
        look,
        found: Some(Found::default()),
        state,
    }
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A file of the captured host, with the line that begins with `key` changed to `line`.
pub(crate) fn file_with(path: &str, key: &str, line: &str) -> String {
    let (_, text) = FILES.iter().find(|(name, _)| *name == path).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with(key)),
        "{path} has no {key}"
    );
    let lines = text
        .lines()
        .map(|old| if old.starts_with(key) { line } else { old });
    lines.map(|line| format!("{line}\n")).collect()
}

/// `slabinfo` with one more cache: objects, objects in use, their size.
pub(crate) fn slabinfo_with(name: &str, objects: u64, active: u64, size: u64) -> String {
    let (_, text) = FILES
        .iter()
        .find(|(name, _)| *name == "proc/slabinfo")
        .unwrap();
    let per_slab = 32768 / size;
    let slabs = objects.div_ceil(per_slab);
    let others = text
        .lines()
        .filter(|line| !line.starts_with(&format!("{name} ")));
    let mut text: String = others.map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("{name} {active} {objects} {size} {per_slab} 8 : tunables 0 0 0 : slabdata {slabs} {slabs} 0\n"));
    text
}

/// A process of so many MiB.
pub(crate) fn process(pid: u32, command: &str, anon_mib: u64) -> Process {
    Process {
        pid,
        ppid: 1,
        command: command.to_owned(),
        user: "ada".to_owned(),
        cgroup: "/user.slice".to_owned(),
        rss_bytes: Bytes::from_mib(anon_mib + 20),
        anon_bytes: Bytes::from_mib(anon_mib),
        swap_bytes: Bytes::ZERO,
        pss_bytes: None,
        mapped: None,
    }
}

/// A group with a limit, holding so many MiB.
pub(crate) fn group(path: &str, limit_mib: u64, user_mib: u64, cache_mib: u64) -> Group {
    Group {
        path: path.to_owned(),
        version: 2,
        current_bytes: Some(Bytes::from_mib(user_mib + cache_mib)),
        user_bytes: Some(Bytes::from_mib(user_mib)),
        kernel_bytes: Some(Bytes::ZERO),
        page_cache_bytes: Some(Bytes::from_mib(cache_mib)),
        ram_limit_bytes: Some(Bytes::from_mib(limit_mib)),
        ram_limit_effective_bytes: Some(Bytes::from_mib(limit_mib)),
        ..Group::default()
    }
}

/// What one rule finds in one look.
pub(crate) fn findings(rule: &Rule, now: &Account) -> Vec<Finding> {
    findings_since(rule, now, None)
}

/// What one rule finds between two looks, a minute apart.
pub(crate) fn findings_between(rule: &Rule, before: Account, now: &Account) -> Vec<Finding> {
    findings_since(
        rule,
        now,
        Some(&Before {
            account: before,
            seconds: 60.0,
        }),
    )
}

fn findings_since(rule: &Rule, now: &Account, before: Option<&Before>) -> Vec<Finding> {
    let document = find(&Scene { now, before });
    let outcome = document
        .rules
        .iter()
        .find(|checked| checked.id == rule.id)
        .unwrap();
    let found: Vec<_> = document
        .findings
        .into_iter()
        .filter(|found| found.id == rule.id)
        .collect();
    assert_eq!(outcome.outcome == Outcome::Found, !found.is_empty());
    for finding in &found {
        assert!(
            !finding.evidence.is_empty() && !finding.remedies.is_empty(),
            "{finding:?}"
        );
        assert!(
            finding.title.ends_with('.') && finding.means.ends_with('.'),
            "{finding:?}"
        );
    }
    found
}

#[test]
fn a_host_at_rest_has_no_findings() {
    let now = host();
    let before = Before {
        account: host(),
        seconds: 60.0,
    };
    for before in [None, Some(&before)] {
        let document = find(&Scene { now: &now, before });
        assert_eq!(document.findings, []);
        let unseen: Vec<_> = document
            .rules
            .iter()
            .filter(|checked| checked.outcome == Outcome::NotSeen)
            .map(|checked| checked.id)
            .collect();
        // What takes smaps, processes and groups, which the captured host lacks; and two looks.
        let expected: &[&str] = if before.is_some() {
            &[
                "limit-close",
                "high-without-swap",
                "commit-outside",
                "process-growth",
                "dying-groups",
                "rss-misleads",
            ]
        } else {
            &[
                "limit-close",
                "high-without-swap",
                "commit-outside",
                "slab-growth",
                "process-growth",
                "dying-groups",
                "rss-misleads",
            ]
        };
        assert_eq!(unseen, expected);
    }
}

#[test]
fn rules_have_names_of_their_own() {
    let mut ids: Vec<_> = crate::findings::RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), crate::findings::RULES.len());
}
