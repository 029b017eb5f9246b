//! Memory: mappings, the pages that are stored for them, and the sets that the rest lies in.

use super::LONGEST_CHAIN;
use super::files::Set;
use super::report::{Report, Weight, chain};
use crate::directory::Directory;
use crate::error::ImageError;
use crate::kind::Kind;
use crate::pagemap::{PE_PARENT, PE_PRESENT, PageSpan, Pagemap, X86_64_PAGE_BYTES};
use crate::proto::{MmEntry, VmaEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;

const VMA_FILE_PRIVATE: u32 = 1 << 6;
const VMA_FILE_SHARED: u32 = 1 << 7;
const VMA_ANON_SHARED: u32 = 1 << 8;

pub(super) fn check(directory: &dyn Directory, set: &Set, report: &mut Report) {
    for (pid, mm) in &set.mm {
        check_mappings(set, *pid, mm, report);
    }
    let mut owners = BTreeMap::new();
    let of_tasks = set
        .pagemaps
        .iter()
        .map(|(id, map)| (Kind::Pagemap, *id, map));
    let of_objects = set
        .shmem_pagemaps
        .iter()
        .map(|(id, map)| (Kind::ShmemPagemap, *id, map));
    for (kind, id, map) in of_tasks.chain(of_objects) {
        let name = kind.file_name(id);
        let pages_id = map.head.pages_id;
        if let Some(other) = owners.insert(pages_id, name.clone()) {
            let text = format!("{other} has the same pages file, {pages_id}");
            report.add(Weight::Contradiction, &name, text);
        }
        let spans = check_runs(map, &name, report);
        check_size(set, map, &name, report);
        if let Some(mm) = set.mm.get(&id).filter(|_| kind == Kind::Pagemap) {
            check_inside(&spans, mm, &name, report);
        }
        let parents: Vec<PageSpan> = spans
            .into_iter()
            .filter(|span| span.flags & PE_PARENT != 0)
            .collect();
        check_parents(directory, kind, id, &parents, &name, report);
    }
}

fn check_mappings(set: &Set, pid: u64, mm: &MmEntry, report: &mut Report) {
    let name = Kind::Mm.file_name(pid);
    let files: BTreeSet<u64> = set.files.iter().map(|file| file.id.into()).collect();
    let mut end = 0;
    for vma in &mm.vmas {
        if vma.start >= vma.end || vma.start < end {
            let text = format!(
                "the mapping {:#x}-{:#x} is empty, or overlaps the one before",
                vma.start, vma.end
            );
            report.add(Weight::Contradiction, &name, text);
        }
        end = vma.end;
        let (needed, there) = if vma.status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED) != 0 {
            (format!("file {:#x}", vma.shmid), files.contains(&vma.shmid))
        } else if is_shared_memory(vma) {
            (
                Kind::ShmemPagemap.file_name(vma.shmid),
                set.has(Kind::ShmemPagemap, vma.shmid),
            )
        } else {
            continue;
        };
        if !there {
            let text = format!("the mapping {:#x}-{:#x} needs {needed}", vma.start, vma.end);
            report.add(Weight::Missing, &name, text);
        }
    }
}

/// Anonymous shared memory; that of System V and of sockets is kept otherwise.
fn is_shared_memory(vma: &VmaEntry) -> bool {
    const ELSEWHERE: u32 = 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14; // SYSVIPC, SOCKET, AIORING, MEMFD
    vma.status & VMA_ANON_SHARED != 0 && vma.status & ELSEWHERE == 0
}

/// Runs ascend, are whole pages, and have an end; the good ones are returned.
fn check_runs(map: &Pagemap, name: &str, report: &mut Report) -> Vec<PageSpan> {
    let mut end = 0;
    let mut spans = Vec::new();
    for entry in &map.entries {
        let Some(span) = PageSpan::of(entry, X86_64_PAGE_BYTES) else {
            let text = format!(
                "the run at {:#x} is empty, unaligned, or ends behind all memory",
                entry.vaddr
            );
            report.add(Weight::Broken, name, text);
            continue;
        };
        if span.start < end {
            let text = format!("the run at {:#x} begins inside the one before", span.start);
            report.add(Weight::Contradiction, name, text);
        }
        end = span.end;
        spans.push(span);
    }
    spans
}

fn check_size(set: &Set, map: &Pagemap, name: &str, report: &mut Report) {
    let present = map
        .entries
        .iter()
        .filter(|entry| entry.page_flags() & PE_PRESENT != 0);
    let pages = present.fold(0u64, |sum, entry| sum.saturating_add(entry.pages()));
    report.stored_pages = report.stored_pages.saturating_add(pages);
    let file = Kind::Pages.file_name(map.head.pages_id.into());
    let expected = pages.saturating_mul(X86_64_PAGE_BYTES);
    match set.sizes.get(&(Kind::Pages, map.head.pages_id.into())) {
        Some(size) if *size == expected => {}
        Some(size) => {
            let weight = if *size < expected {
                Weight::Broken
            } else {
                Weight::Contradiction
            };
            let text = format!("it has {size} bytes; {name} lists {pages} pages, {expected} bytes");
            report.add(weight, file, text);
        }
        None if pages == 0 || set.is_packed => {}
        None => report.add(Weight::Missing, file, format!("{name} needs it")),
    }
}

/// Every run lies in mappings without a gap.
fn check_inside(spans: &[PageSpan], mm: &MmEntry, name: &str, report: &mut Report) {
    let mut mappings = mm.vmas.iter().peekable();
    for span in spans {
        let mut at = span.start;
        while at < span.end {
            while mappings.next_if(|vma| vma.end <= at).is_some() {}
            match mappings.peek() {
                Some(vma) if vma.start <= at => at = vma.end,
                _ => {
                    let text = format!("pages at {at:#x} are in no mapping");
                    report.add(Weight::Contradiction, name, text);
                    break;
                }
            }
        }
    }
}

/// What is said to lie in the parent lies there, or in the parent's parent.
fn check_parents(
    directory: &dyn Directory,
    kind: Kind,
    id: u64,
    spans: &[PageSpan],
    name: &str,
    report: &mut Report,
) {
    if spans.is_empty() {
        return;
    }
    if let Err(text) = find_in_parents(directory, kind, id, spans, LONGEST_CHAIN) {
        report.add(Weight::Missing, name, text);
    }
}

fn find_in_parents(
    directory: &dyn Directory,
    kind: Kind,
    id: u64,
    spans: &[PageSpan],
    left: usize,
) -> Result<(), String> {
    let parent = match directory.parent() {
        Ok(Some(parent)) => parent,
        Ok(None) => return Err("it refers to a parent, and there is no link to one".to_owned()),
        Err(error) => return Err(format!("the link to its parent leads nowhere: {error}")),
    };
    if left == 0 {
        return Err(format!(
            "there are more than {LONGEST_CHAIN} parents, or they go round in a circle"
        ));
    }
    let map = match read_pagemap(&*parent, kind, id) {
        Ok(map) => map,
        Err(error) => return Err(format!("in a parent: {}", chain(&error))),
    };
    let theirs: Vec<PageSpan> = map
        .entries
        .iter()
        .filter_map(|entry| PageSpan::of(entry, X86_64_PAGE_BYTES))
        .collect();
    let deeper = covered(spans, &theirs)?;
    if deeper.is_empty() {
        return Ok(());
    }
    find_in_parents(&*parent, kind, id, &deeper, left - 1)
}

fn read_pagemap(directory: &dyn Directory, kind: Kind, id: u64) -> Result<Pagemap, ImageError> {
    let name = kind.file_name(id);
    let file = directory.open(OsStr::new(&name)).map_err(|error| {
        let error = io::Error::new(error.kind(), format!("{name}: {error}"));
        ImageError::io("open")(error)
    })?;
    Pagemap::read(file)
}

/// The parts of `spans` that `theirs` says are deeper still; an error names a page that they lack.
fn covered(spans: &[PageSpan], theirs: &[PageSpan]) -> Result<Vec<PageSpan>, String> {
    let mut deeper = Vec::new();
    for span in spans {
        let mut at = span.start;
        let first = theirs.partition_point(|their| their.end <= at);
        for their in theirs.iter().skip(first) {
            if at >= span.end || their.start > at {
                break;
            }
            let end = their.end.min(span.end);
            if their.flags & PE_PARENT != 0 {
                deeper.push(PageSpan {
                    start: at,
                    end,
                    flags: PE_PARENT,
                });
            }
            at = end;
        }
        if at < span.end {
            return Err(format!("the page at {at:#x} is in no parent"));
        }
    }
    Ok(deeper)
}
