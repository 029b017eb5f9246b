//! Sets from one form to another and back.

use crate::sets::fixture;
use plimsoll_image::convert::{Converted, Form, convert};
use plimsoll_image::directory::{InMemory, OnDisk};
use plimsoll_image::packed::{Codec, Part};
use plimsoll_image::pagemap::{Pagemap, X86_64_PAGE_BYTES};
use plimsoll_image::pages::SetPages;
use plimsoll_image::verify::verify;
use plimsoll_image::{Kind, manifest::MANIFEST};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

fn write(set: &InMemory, to: &Path) -> PathBuf {
    fs::create_dir(to).unwrap();
    for (name, bytes) in &set.files {
        fs::write(to.join(name), bytes).unwrap();
    }
    to.to_owned()
}

fn complete(dir: &Path) {
    let report = verify(&OnDisk::new(dir)).unwrap();
    assert!(report.is_complete(), "{:?}", report.findings);
}

/// A set without what only ours have.
fn images(dir: &Path) -> InMemory {
    let mut set = InMemory::read(dir).unwrap();
    set.files.remove(OsStr::new(MANIFEST));
    set
}

#[test]
fn a_set_that_was_packed_and_unpacked_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sleep", "pipeline", "many"] {
        let raw = write(&fixture(name), &dir.path().join(name));
        for (number, form) in [
            Form::Packed(Codec::Lz4),
            Form::Packed(Codec::Zstd),
            Form::Packed(Codec::None),
            Form::Lazy(Codec::Zstd),
        ]
        .into_iter()
        .enumerate()
        {
            let packed = dir.path().join(format!("{name}-{number}"));
            let done = convert(&raw, &packed, form, None).unwrap();
            assert!(done.zero_pages > 0 && done.pages > done.zero_pages);
            complete(&packed);
            let back = dir.path().join(format!("{name}-{number}-raw"));
            convert(&packed, &back, Form::Raw, None).unwrap();
            complete(&back);
            assert!(images(&back) == images(&raw), "{name} by way of {form:?}");
        }
    }
    let left = fs::read_dir(dir.path()).unwrap();
    assert!(
        left.flatten()
            .all(|entry| !entry.file_name().to_string_lossy().contains("partial"))
    );
}

#[test]
fn equal_pages_are_stored_once_across_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = fixture("many");
    let pages = set.files[OsStr::new("pages-3.img")].clone();
    assert_eq!(pages.len(), set.files[OsStr::new("pages-4.img")].len());
    set.files.insert("pages-4.img".into(), pages); // parent and child hold the same
    let raw = write(&set, &dir.path().join("raw"));
    let done: Converted = convert(
        &raw,
        &dir.path().join("packed"),
        Form::Packed(Codec::None),
        None,
    )
    .unwrap();
    assert!(
        done.repeated_pages + done.zero_pages >= done.pages / 2,
        "{done:?}"
    );
    let raw_bytes: usize = set.files.values().map(Vec::len).sum();
    assert!(done.bytes < raw_bytes as u64 / 2, "{done:?}");
}

#[test]
fn pages_of_a_packed_parent_are_not_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let set = fixture("sleep");
    let first = write(&set, &dir.path().join("first"));
    let second = write(&set, &dir.path().join("second"));
    convert(
        &first,
        &dir.path().join("first-packed"),
        Form::Packed(Codec::Lz4),
        None,
    )
    .unwrap();
    let target = dir.path().join("second-packed");
    let parent = dir.path().join("first-packed");
    let done = convert(&second, &target, Form::Packed(Codec::Lz4), Some(&parent)).unwrap();
    complete(&target);
    assert_eq!(
        fs::read_link(target.join("parent")).unwrap(),
        Path::new("../first-packed")
    );
    assert_eq!(
        done.repeated_pages + done.zero_pages,
        done.pages,
        "{done:?}"
    );

    convert(&target, &dir.path().join("back"), Form::Raw, None).unwrap();
    assert!(images(&dir.path().join("back")) == images(&second));

    // Without its parent it is not complete.
    fs::remove_file(target.join("parent")).unwrap();
    assert!(!verify(&OnDisk::new(&target)).unwrap().is_complete());
}

#[test]
fn a_lazy_set_can_do_without_its_later_part() {
    let dir = tempfile::tempdir().unwrap();
    let raw = write(&fixture("sleep"), &dir.path().join("raw"));
    let lazy = dir.path().join("lazy");
    let done = convert(&raw, &lazy, Form::Lazy(Codec::Lz4), None).unwrap();
    assert!(
        done.later_pages > 0 && done.later_pages < done.pages,
        "{done:?}"
    );
    fs::rename(
        lazy.join(Part::Later.file_name()),
        dir.path().join("elsewhere"),
    )
    .unwrap();
    complete(&lazy);
    let refused = convert(&lazy, &dir.path().join("back"), Form::Raw, None).unwrap_err();
    assert!(refused.to_string().contains("elsewhere"), "{refused}");
    assert!(!dir.path().join("back").exists());

    // What is there now can be read, what is later says so.
    let mut pages = SetPages::open(Box::new(OnDisk::new(&lazy))).unwrap();
    let map = Pagemap::read(fs::read(lazy.join("pagemap-18666.img")).unwrap().as_slice()).unwrap();
    let mut page = vec![0; 4096];
    let outcomes: Vec<bool> = (0..done.pages)
        .map(|at| pages.read(map.head.pages_id, at, &mut page).is_ok())
        .collect();
    let now = outcomes.iter().filter(|read| **read).count() as u64;
    assert_eq!(now, done.pages - done.later_pages);
}

#[test]
fn addresses_lead_to_pages_also_in_parents() {
    let set = fixture("sleep");
    let map = Pagemap::read(set.files[OsStr::new("pagemap-18666.img")].as_slice()).unwrap();
    let mut child = set.clone();
    let mut theirs = map.clone();
    for entry in &mut theirs.entries {
        entry.flags = Some(plimsoll_image::pagemap::PE_PARENT);
    }
    child
        .files
        .insert("pagemap-18666.img".into(), theirs.write().unwrap());
    child.files.remove(OsStr::new("pages-1.img"));
    child.parent = Some(Box::new(set.clone()));
    let mut pages = SetPages::open(Box::new(child)).unwrap();
    let mut page = vec![0; 4096];
    let mut at = 0;
    for entry in &map.entries {
        for number in 0..entry.pages() {
            let address = entry.vaddr + number * X86_64_PAGE_BYTES;
            assert!(
                pages
                    .read_address(Kind::Pagemap, 18666, address, &mut page)
                    .unwrap()
            );
            assert_eq!(page, set.files[OsStr::new("pages-1.img")][at..at + 4096]);
            at += 4096;
        }
    }
    assert!(
        !pages
            .read_address(Kind::Pagemap, 18666, 0x1000, &mut page)
            .unwrap()
    );
}

/// A small set, every page of it packed well.
fn small(dir: &Path) -> InMemory {
    let mut set = fixture("sleep");
    let pages = set.files.get_mut(OsStr::new("pages-1.img")).unwrap();
    for (number, page) in pages.chunks_mut(4096).enumerate() {
        page.fill(u8::try_from(number / 3).unwrap());
    }
    let raw = write(&set, &dir.join("raw"));
    convert(&raw, &dir.join("lazy"), Form::Lazy(Codec::Lz4), None).unwrap();
    InMemory::read(&dir.join("lazy")).unwrap()
}

/// All pages, or nothing.
fn all_pages(set: &InMemory, count: u64) -> Option<Vec<u8>> {
    let mut pages = SetPages::open(Box::new(set.clone())).ok()?;
    let mut all = Vec::new();
    let mut page = vec![0; 4096];
    for place in 0..count {
        pages.read(1, place, &mut page).ok()?;
        all.extend_from_slice(&page);
    }
    Some(all)
}

#[test]
fn any_one_byte_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let whole = small(dir.path());
    let expected = all_pages(&whole, 28).unwrap();
    assert!(verify(&whole).unwrap().is_complete());
    let names: Vec<OsString> = whole.files.keys().cloned().collect();
    let mut set = whole;
    for name in &names {
        let length = set.files[name].len();
        for at in 0..length {
            for change in [0x01, 0x80] {
                set.files.get_mut(name).unwrap()[at] ^= change;
                let pages = Part::ALL.iter().any(|part| name == part.file_name());
                if pages {
                    // The frames alone suffice: a restore does not read what it does not need.
                    let read = all_pages(&set, 28);
                    assert!(read.is_none_or(|read| read == expected), "{name:?} at {at}");
                }
                let digests = plimsoll_image::verify::digests(&set).unwrap();
                assert!(!digests.is_complete(), "{name:?} at {at}");
                set.files.get_mut(name).unwrap()[at] ^= change;
            }
        }
    }
    assert!(verify(&set).unwrap().is_complete());
}

#[test]
fn a_set_with_faults_is_not_converted() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = fixture("sleep");
    set.files.remove(OsStr::new("mm-18666.img"));
    let raw = write(&set, &dir.path().join("raw"));
    let refused = convert(&raw, &dir.path().join("to"), Form::Raw, None).unwrap_err();
    assert!(refused.to_string().contains("mm-18666.img"), "{refused}");
    assert!(!dir.path().join("to").exists());
}
