//! What only sets of ours have: checksums of every file, and packed pages.

use super::files::Set;
use super::report::{Report, Weight, chain};
use crate::directory::Directory;
use crate::kind::Kind;
use crate::manifest::{self, MANIFEST, Manifest};
use crate::packed::{PackedReader, Part, Source};
use crate::pagemap::PE_PRESENT;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;

/// Compares every file with the list of digests, if there is one.
pub(super) fn check_digests(directory: &dyn Directory, report: &mut Report) -> io::Result<()> {
    let manifest = match Manifest::of(directory) {
        Ok(None) => return Ok(()),
        Ok(Some(manifest)) => manifest,
        Err(error) => {
            report.add(Weight::Broken, MANIFEST, chain(&error));
            return Ok(());
        }
    };
    let mut files: BTreeMap<_, _> = directory.files()?.into_iter().collect();
    files.remove(OsStr::new(MANIFEST));
    for (name, digest) in &manifest.files {
        let shown = name.to_string_lossy();
        if files.remove(name).is_none() {
            if name == Part::Later.file_name() {
                report.add(
                    Weight::Note,
                    shown,
                    "is elsewhere: a restore has to be told where",
                );
            } else {
                report.add(Weight::Missing, shown, format!("{MANIFEST} lists it"));
            }
            continue;
        }
        let digested = directory
            .open(name)
            .and_then(|mut file| manifest::copy(&mut file, &mut io::sink()));
        match digested {
            Ok((found, _)) if found == *digest => {}
            Ok(_) => report.add(
                Weight::Broken,
                shown,
                format!("is not what {MANIFEST} says"),
            ),
            Err(error) => report.add(Weight::Broken, shown, chain(&error)),
        }
    }
    for name in files.keys() {
        let text = format!("{MANIFEST} does not list it");
        report.add(Weight::Contradiction, name.to_string_lossy(), text);
    }
    Ok(())
}

/// The packed files of a set, as far as they are here.
pub(super) fn open(
    directory: &dyn Directory,
    report: &mut Report,
) -> Vec<PackedReader<Box<dyn crate::directory::ReadSeek>>> {
    let mut readers: Vec<PackedReader<_>> = Vec::new();
    for part in Part::ALL {
        let name = part.file_name();
        let file = match directory.open(OsStr::new(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                report.add(Weight::Broken, name, chain(&error));
                continue;
            }
        };
        match PackedReader::open(file) {
            Ok(reader) if reader.part() != part => {
                report.add(Weight::Contradiction, name, "it is the other part of a set");
            }
            Ok(reader)
                if readers
                    .first()
                    .is_some_and(|first| first.set() != reader.set()) =>
            {
                report.add(Weight::Contradiction, name, "it belongs to another set");
            }
            Ok(mut reader) => {
                if let Err(error) = reader.check_frames() {
                    report.add(Weight::Broken, name, chain(&error));
                }
                readers.push(reader);
            }
            Err(error) => report.add(Weight::Broken, name, chain(&error)),
        }
    }
    readers
}

/// Every stored page of every pagemap is in a packed file, or is told to be in one that is elsewhere.
pub(super) fn check_pages(directory: &dyn Directory, set: &Set, report: &mut Report) {
    let readers = open(directory, report);
    if readers.is_empty() {
        return;
    }
    let elsewhere = later_is_elsewhere(directory);
    let of_tasks = set
        .pagemaps
        .iter()
        .map(|(id, map)| (Kind::Pagemap, id, map));
    let of_objects = set
        .shmem_pagemaps
        .iter()
        .map(|(id, map)| (Kind::ShmemPagemap, id, map));
    for (kind, id, map) in of_tasks.chain(of_objects) {
        let present = map
            .entries
            .iter()
            .filter(|entry| entry.page_flags() & PE_PRESENT != 0);
        let pages = present.fold(0u64, |sum, entry| sum.saturating_add(entry.pages()));
        let mut place = 0;
        while place < pages {
            let found = readers
                .iter()
                .find_map(|reader| reader.find(map.head.pages_id, place));
            match found {
                Some((_, count)) => place = place.saturating_add(count),
                None if elsewhere => break, // what is not here can't be counted
                None => {
                    let text = format!("page {place} of its pages is in no packed file");
                    report.add(Weight::Missing, kind.file_name(*id), text);
                    break;
                }
            }
        }
    }
    check_above(directory, &readers, report);
}

/// A set that was made lazy, and whose later part is not here.
fn later_is_elsewhere(directory: &dyn Directory) -> bool {
    let later = OsStr::new(Part::Later.file_name());
    let listed = Manifest::of(directory).ok().flatten();
    let listed =
        listed.is_some_and(|manifest| manifest.files.iter().any(|(name, _)| name == later));
    listed && directory.open(later).is_err()
}

/// Runs that lead to parents lead to pages there.
fn check_above<R: io::Read + io::Seek>(
    directory: &dyn Directory,
    readers: &[PackedReader<R>],
    report: &mut Report,
) {
    for reader in readers {
        let name = reader.part().file_name();
        for run in reader.runs() {
            let Source::Parent { level, part, page } = run.source else {
                continue;
            };
            match pages_above(directory, level, part) {
                Ok(pages) if page.saturating_add(run.count) <= pages => {}
                Ok(_) => report.add(
                    Weight::Missing,
                    name,
                    "it refers to pages that a parent does not have",
                ),
                Err(text) => report.add(Weight::Missing, name, text),
            }
        }
    }
}

fn pages_above(directory: &dyn Directory, level: u32, part: Part) -> Result<u64, String> {
    let parent = directory
        .parent()
        .map_err(|error| format!("the link to its parent leads nowhere: {error}"))?;
    let parent = parent.ok_or("it refers to a parent, and there is no link to one")?;
    if level as usize > super::LONGEST_CHAIN {
        return Err("it refers to a parent too far up".to_owned());
    }
    if level > 1 {
        return pages_above(&*parent, level - 1, part);
    }
    let name = part.file_name();
    let file = parent
        .open(OsStr::new(name))
        .map_err(|error| format!("a parent's {name}: {error}"))?;
    let reader = PackedReader::open(file)
        .map_err(|error| format!("a parent's {name}: {}", chain(&error)))?;
    Ok(reader.pages())
}
