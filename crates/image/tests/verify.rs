//! Sets with one thing wrong, and what verification says of each.

use plimsoll_image::directory::InMemory;
use plimsoll_image::pagemap::{PE_PARENT, PE_PRESENT, Pagemap};
use plimsoll_image::proto::{PagemapEntry, PstreeEntry};
use plimsoll_image::verify::{Finding, Weight, verify};
use plimsoll_image::{Entry, Kind, read_all, write_all};
use std::ffi::OsString;

use crate::sets::fixture;

fn faults(set: &InMemory) -> Vec<Finding> {
    let report = verify(set).unwrap();
    let found = report.findings.into_iter();
    found
        .filter(|finding| finding.weight != Weight::Note)
        .collect()
}

/// Says what each finding is about, to compare with.
fn files(findings: &[Finding]) -> Vec<(Weight, &str)> {
    let named = findings
        .iter()
        .map(|finding| (finding.weight, finding.file.as_str()));
    let mut named: Vec<_> = named.collect();
    named.dedup();
    named
}

#[test]
fn sets_of_criu_are_complete() {
    for name in ["sleep", "pipeline", "many"] {
        let set = fixture(name);
        let report = verify(&set).unwrap();
        assert_eq!(report.findings, [], "{name}");
        assert_eq!(report.images, set.files.len() as u64);
        assert!(report.processes > 0 && report.stored_pages > 0);
    }
}

#[test]
fn whatever_file_is_missing_is_missed() {
    for name in ["sleep", "pipeline", "many"] {
        let whole = fixture(name);
        for file in whole.files.keys() {
            let file = file.to_str().unwrap();
            // Nothing refers to these.
            if ["stats-dump", "timens-0.img", "seccomp.img"].contains(&file)
                || file.ends_with("-data.img")
                || file == "sk-queues.img"
                || file == "remap-fpath.img"
            {
                continue;
            }
            let mut set = whole.clone();
            set.files.remove(&OsString::from(file));
            let found = faults(&set);
            // A core that holds the ids as well can do without them apart.
            assert!(
                !found.is_empty() || file.starts_with("ids-"),
                "{name}: {file}"
            );
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_broken() {
    let whole = fixture("many");
    for (file, bytes) in &whole.files {
        let kind = Kind::of_file_name(file).unwrap().0;
        if kind == Kind::GhostFile {
            continue; // its content is all that follows
        }
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 12) {
            // A file that ends between two messages is a shorter one.
            let mut set = whole.clone();
            set.files.insert(file.clone(), bytes[..length].to_vec());
            let broken = verify(&set).unwrap();
            let shorter = matches!(
                kind,
                Kind::Pagemap
                    | Kind::Fdinfo
                    | Kind::Files
                    | Kind::Pstree
                    | Kind::PipesData
                    | Kind::SkQueues
                    | Kind::RemapFpath
                    | Kind::MemfdInode
                    | Kind::ShmemPagemap
            );
            assert!(!broken.is_complete() || shorter, "{file:?} cut to {length}");
        }
    }
}

fn rewrite_tree(set: &mut InMemory, change: impl FnOnce(&mut Vec<Entry<PstreeEntry>>)) {
    let name = OsString::from("pstree.img");
    let mut tree = read_all(Kind::Pstree, set.files[&name].as_slice()).unwrap();
    change(&mut tree);
    set.files
        .insert(name, write_all(Kind::Pstree, &tree).unwrap());
}

#[test]
fn a_process_without_images_is_named_with_all_it_lacks() {
    let mut set = fixture("sleep");
    rewrite_tree(&mut set, |tree| {
        let mut child = tree[0].clone();
        child.ppid = child.pid;
        child.pid = 5;
        child.threads = vec![5];
        tree.push(child);
    });
    assert_eq!(files(&faults(&set)), [(Weight::Missing, "core-5.img")]);

    set.files.insert(
        "core-5.img".into(),
        set.files[&OsString::from("core-18666.img")].clone(),
    );
    assert_eq!(
        files(&faults(&set)),
        ["fs-5.img", "ids-5.img", "mm-5.img", "pagemap-5.img"].map(|name| (Weight::Missing, name))
    );
}

#[test]
fn trees_that_are_none_are_contradictory() {
    let mut set = fixture("sleep");
    rewrite_tree(&mut set, |tree| tree.push(tree[0].clone()));
    assert_eq!(
        files(&faults(&set)),
        [(Weight::Contradiction, "pstree.img")]
    );

    let mut set = fixture("sleep");
    rewrite_tree(&mut set, |tree| tree[0].ppid = 4);
    assert_eq!(
        files(&faults(&set)),
        [
            (Weight::Missing, "pstree.img"),
            (Weight::Contradiction, "pstree.img")
        ]
    );
}

fn rewrite_pagemap(set: &mut InMemory, change: impl FnOnce(&mut Pagemap)) {
    let name = OsString::from("pagemap-18666.img");
    let mut map = Pagemap::read(set.files[&name].as_slice()).unwrap();
    change(&mut map);
    set.files.insert(name, map.write().unwrap());
}

#[test]
fn pages_that_do_not_fit_are_found() {
    let mut set = fixture("sleep");
    set.files
        .get_mut(&OsString::from("pages-1.img"))
        .unwrap()
        .truncate(4096);
    assert_eq!(files(&faults(&set)), [(Weight::Broken, "pages-1.img")]);

    let mut set = fixture("sleep");
    rewrite_pagemap(&mut set, |map| map.entries.swap(0, 1));
    assert!(files(&faults(&set)).contains(&(Weight::Contradiction, "pagemap-18666.img")));

    let mut set = fixture("sleep");
    rewrite_pagemap(&mut set, |map| map.entries[0].vaddr = 0x1000);
    assert_eq!(
        files(&faults(&set)),
        [(Weight::Contradiction, "pagemap-18666.img")]
    );

    let mut set = fixture("sleep");
    rewrite_pagemap(&mut set, |map| map.entries[0].nr_pages = Some(u64::MAX));
    assert!(!faults(&set).is_empty());
}

#[test]
fn pages_in_a_parent_are_looked_for_there() {
    let whole = fixture("sleep");
    let mut child = whole.clone();
    rewrite_pagemap(&mut child, |map| {
        for entry in &mut map.entries {
            entry.flags = Some(PE_PARENT);
        }
    });
    child.files.remove(&OsString::from("pages-1.img"));
    let pagemap = (Weight::Missing, "pagemap-18666.img");
    assert_eq!(files(&faults(&child)), [pagemap]);

    child.parent = Some(Box::new(whole.clone()));
    assert_eq!(files(&faults(&child)), []);

    let mut poorer = whole.clone();
    rewrite_pagemap(&mut poorer, |map| {
        let last = map.entries.last_mut().unwrap();
        *last = PagemapEntry::run(last.vaddr + 4096, 1, PE_PRESENT).into();
    });
    child.parent = Some(Box::new(poorer));
    assert_eq!(files(&faults(&child)), [pagemap]);

    // Two steps down.
    let mut middle = child.clone();
    middle.parent = Some(Box::new(whole));
    child.parent = Some(Box::new(middle));
    assert_eq!(files(&faults(&child)), []);
}
