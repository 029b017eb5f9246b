//! Every reader of every file: a captured one is read, an absent one is `None`, a broken one is an error.

use plimsoll_cgroup::{Error, v1, v2};
use plimsoll_proc::{Dir, Root};
use plimsoll_units::{Bytes, Limit};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// What a reader makes of a directory.
fn outcome<T: Debug>(read: Result<Option<T>, Error>) -> &'static str {
    match read {
        Ok(Some(_)) => "read",
        Ok(None) => "absent",
        Err(Error::Malformed { .. }) => "malformed",
        Err(_) => "refused",
    }
}

/// A row for each file, with what each reader makes of the file in the directory.
macro_rules! outcomes {
    ($files:expr, $($file:literal $reader:ident),* $(,)?) => {
        vec![$(($file, outcome($files.$reader()))),*]
    };
}

fn outcomes_v1(dir: &Dir<'_>) -> Vec<(&'static str, &'static str)> {
    let files = v1::Files(dir);
    outcomes!(
        files,
        "memory.usage_in_bytes" usage,
        "memory.max_usage_in_bytes" max_usage,
        "memory.limit_in_bytes" limit,
        "memory.soft_limit_in_bytes" soft_limit,
        "memory.failcnt" failcnt,
        "memory.memsw.usage_in_bytes" memsw_usage,
        "memory.memsw.max_usage_in_bytes" memsw_max_usage,
        "memory.memsw.limit_in_bytes" memsw_limit,
        "memory.memsw.failcnt" memsw_failcnt,
        "memory.kmem.usage_in_bytes" kmem_usage,
        "memory.kmem.max_usage_in_bytes" kmem_max_usage,
        "memory.kmem.limit_in_bytes" kmem_limit,
        "memory.kmem.failcnt" kmem_failcnt,
        "memory.kmem.tcp.usage_in_bytes" tcp_usage,
        "memory.kmem.tcp.max_usage_in_bytes" tcp_max_usage,
        "memory.kmem.tcp.limit_in_bytes" tcp_limit,
        "memory.kmem.tcp.failcnt" tcp_failcnt,
        "memory.stat" stat,
        "memory.oom_control" oom_control,
        "memory.use_hierarchy" use_hierarchy,
        "cgroup.procs" procs,
        "tasks" tasks,
        "freezer.state" freezer_state,
    )
}

fn outcomes_v2(dir: &Dir<'_>) -> Vec<(&'static str, &'static str)> {
    let files = v2::Files(dir);
    outcomes!(
        files,
        "memory.current" memory_current,
        "memory.peak" memory_peak,
        "memory.min" memory_min,
        "memory.low" memory_low,
        "memory.high" memory_high,
        "memory.max" memory_max,
        "memory.stat" memory_stat,
        "memory.pressure" memory_pressure,
        "memory.events" memory_events,
        "memory.events.local" memory_events_local,
        "memory.oom.group" memory_oom_group,
        "memory.swap.current" memory_swap_current,
        "memory.swap.peak" memory_swap_peak,
        "memory.swap.high" memory_swap_high,
        "memory.swap.max" memory_swap_max,
        "memory.swap.events" memory_swap_events,
        "memory.zswap.current" memory_zswap_current,
        "memory.zswap.max" memory_zswap_max,
        "memory.zswap.writeback" memory_zswap_writeback,
        "cgroup.events" cgroup_events,
        "cgroup.freeze" cgroup_freeze,
        "cgroup.procs" cgroup_procs,
        "cgroup.stat" cgroup_stat,
    )
}

/// Every row has the same outcome, and the failing ones are named.
fn all(rows: Vec<(&'static str, &'static str)>, expected: &str) {
    let others: Vec<_> = rows.into_iter().filter(|row| row.1 != expected).collect();
    assert_eq!(others, [], "not {expected}");
}

fn with_dir<T>(path: &Path, test: impl FnOnce(&Dir<'_>) -> T) -> T {
    let root = Root::captured(path).unwrap();
    test(&root.open_dir(".").unwrap())
}

#[test]
fn captured_v1_files_are_read() {
    with_dir(&fixture("v1-6.18"), |dir| {
        all(outcomes_v1(dir), "read");
        let files = v1::Files(dir);
        let limit = Limit::Bytes(Bytes::from_mib(200));
        assert_eq!(files.limit().unwrap(), Some(limit));
        assert_eq!(files.kmem_limit().unwrap(), Some(Limit::Max));
        assert_eq!(files.procs().unwrap().unwrap().seen.len(), 4);
        let stat = files.stat().unwrap().unwrap();
        assert_eq!(stat.total_shmem(), Some(Bytes::from_mib(8)));
        assert_eq!(stat.hierarchical_memory_limit(), Some(limit));
        assert_eq!(stat.hierarchical_memsw_limit(), Some(Limit::Max));
        assert_eq!(stat.all.iter().count(), 42);
        assert_eq!(
            files.freezer_state().unwrap(),
            Some(v1::FreezerState::Thawed)
        );
    });
}

#[test]
fn captured_v2_core_files_are_read() {
    with_dir(&fixture("v2-core-6.18"), |dir| {
        let files = v2::Files(dir);
        assert_eq!(files.cgroup_freeze().unwrap(), Some(false));
        assert_eq!(
            files.cgroup_events().unwrap().unwrap().get("populated"),
            Some(0)
        );
        assert_eq!(files.cgroup_stat().unwrap().unwrap().dying(), Some(0));
        assert_eq!(files.cgroup_procs().unwrap(), Some(Default::default()));
        let controllers = files.cgroup_controllers().unwrap().unwrap();
        assert!(!controllers.has("memory"));
        assert_eq!(files.memory_pressure().unwrap().unwrap().some.avg10, 0.0);
        // This host's v1 hierarchy has the memory controller.
        assert_eq!(files.memory_current().unwrap(), None);
    });
}

/// From lab guests: a group that swaps, one with files only, one whose process was killed at its limit.
#[test]
fn captured_v2_files_are_read() {
    for name in [
        "6.1-hog",
        "6.1-files",
        "6.1-oom",
        "6.12-hog",
        "6.12-files",
        "6.12-oom",
    ] {
        let fixture = fixture(&format!("v2-{name}"));
        with_dir(&fixture, |dir| {
            for (file, outcome) in outcomes_v2(dir) {
                let there = fixture.join(file).exists();
                assert_eq!(
                    outcome,
                    if there { "read" } else { "absent" },
                    "{name}/{file}"
                );
            }
            let stat = v2::Files(dir).memory_stat().unwrap().unwrap();
            assert!(stat.kernel() > Some(Bytes::ZERO), "{name}");
        });
    }
    with_dir(&fixture("v2-6.12-oom"), |dir| {
        let files = v2::Files(dir);
        let limit = Limit::Bytes(Bytes::from_mib(8));
        assert_eq!(files.memory_max().unwrap(), Some(limit));
        assert_eq!(
            files.memory_swap_max().unwrap(),
            Some(Limit::Bytes(Bytes::ZERO))
        );
        let events = files.memory_events().unwrap().unwrap();
        assert!(events.get("oom_kill") > Some(0));
    });
}

#[test]
fn what_a_kernel_lacks_is_absent() {
    let empty = tempfile::tempdir().unwrap();
    with_dir(empty.path(), |dir| {
        all(outcomes_v1(dir), "absent");
        all(outcomes_v2(dir), "absent");
    });
}

#[test]
fn what_has_another_shape_is_an_error() {
    let broken = tempfile::tempdir().unwrap();
    let rows = with_dir(broken.path(), |dir| {
        [outcomes_v1(dir), outcomes_v2(dir)].concat()
    });
    for (file, _) in rows {
        std::fs::write(broken.path().join(file), b"\xffno\x00such thing\n").unwrap();
    }
    with_dir(broken.path(), |dir| {
        all(outcomes_v1(dir), "malformed");
        all(outcomes_v2(dir), "malformed");
    });
}

#[test]
fn a_directory_in_a_files_place_is_refused() {
    let odd = tempfile::tempdir().unwrap();
    std::fs::create_dir(odd.path().join("memory.current")).unwrap();
    with_dir(odd.path(), |dir| {
        let error = v2::Files(dir).memory_current().unwrap_err();
        assert!(!error.is_gone() && !error.is_denied(), "{error}");
    });
}
