//! Groups of our own that are removed, and named oddly, while they are read.

use plimsoll_cgroup::mount::{self, Hierarchy};
use plimsoll_cgroup::sample::{Sample, Tree};
use plimsoll_cgroup::{v2, walk};
use plimsoll_proc::{Dir, Root, mountinfo};
use plimsoll_testkit::{OwnGroup, need};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn open<'r>(root: &'r Root, group: &OwnGroup) -> Dir<'r> {
    root.open_dir(group.path().strip_prefix("/").unwrap())
        .unwrap()
}

fn v1_memory(root: &Root) -> Hierarchy {
    let mounts = mountinfo::parse(&root.read("proc/self/mountinfo").unwrap());
    mount::v1(&mounts, "memory").unwrap()
}

#[test]
fn the_host_has_a_group_for_us() {
    need!(CgroupV1Memory);
    let sample = Sample::read(&Root::live());
    let us = std::process::id();
    let groups = || sample.trees.iter().flat_map(|tree| &tree.groups);
    let ours = groups().find(|group| {
        let procs = group.procs.as_ref();
        procs.is_some_and(|procs| procs.seen.binary_search(&us).is_ok())
    });
    assert!(ours.is_some(), "{:?}", sample.errors);
    assert!(groups().next().unwrap().parent.is_none());
}

#[test]
fn names_are_any_bytes() {
    need!(Root, CgroupV1Memory);
    let root = Root::live();
    let group = OwnGroup::v1("memory", "odd-names").unwrap();
    // The kernel refuses a newline in a name, and nothing else that a name can hold.
    assert!(group.child("a\nb").is_err());
    let name = OsStr::from_bytes(b"\xff\x1b[31m a\\b:");
    let _child = group.child(name).unwrap();
    let (tree, errors) = Tree::read(v1_memory(&root), open(&root, &group));
    assert!(errors.is_empty(), "{errors:?}");
    let names: Vec<_> = tree.groups.iter().map(|group| &group.name).collect();
    assert_eq!(names, [OsStr::new(""), name]);
}

#[test]
fn a_group_removed_after_it_was_opened_is_gone_and_leads_back_up() {
    need!(Root, CgroupV1Memory);
    let root = Root::live();
    let group = OwnGroup::v1("memory", "removed").unwrap();
    let above = open(&root, &group);
    let child = group.child("child").unwrap();
    let dir = open(&root, &child);
    drop(child);
    assert_eq!(v2::Files(&dir).cgroup_procs().unwrap(), None);
    assert_eq!(dir.parent().unwrap().id().unwrap(), above.id().unwrap());
}

#[test]
fn groups_removed_in_mid_walk_hide_no_group_that_stays() {
    need!(Root, CgroupV1Memory);
    let root = Root::live();
    let group = OwnGroup::v1("memory", "mid-walk").unwrap();
    let mut doomed: Vec<_> = (0..8)
        .map(|n| group.child(format!("doomed-{n}")).unwrap())
        .collect();
    let _staying: Vec<_> = (0..8)
        .map(|n| group.child(format!("staying-{n}")).unwrap())
        .collect();
    let mut shown: Vec<OsString> = Vec::new();
    let seen = walk::walk(open(&root, &group), |visit| {
        // Listed by now; some of them were visited already, one may be the one that is being visited.
        if shown.len() == 5 {
            doomed.clear();
        }
        shown.push(visit.name.to_owned());
        Some(shown.len())
    });
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    let count = |prefix: &str| {
        let named = |name: &&OsString| name.as_bytes().starts_with(prefix.as_bytes());
        shown.iter().filter(named).count() as u64
    };
    assert_eq!(count("staying-"), 8);
    assert_eq!(count("doomed-") + seen.vanished, 8);
}

#[test]
fn a_tree_that_never_rests_is_read_without_error() {
    need!(Root, CgroupV1Memory);
    let root = Root::live();
    let group = OwnGroup::v1("memory", "restless").unwrap();
    let _staying = group.child("staying").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let parent = group.child("comes-and-goes").unwrap();
                let _child = parent.child("deeper").unwrap();
            }
        });
        for _ in 0..300 {
            let (tree, errors) = Tree::read(v1_memory(&root), open(&root, &group));
            let stays = |group: &plimsoll_cgroup::sample::Group| group.name == "staying";
            let found = tree.groups.iter().any(stays);
            if !errors.is_empty() || !found {
                stop.store(true, Ordering::Relaxed);
                panic!("found: {found}, errors: {errors:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
