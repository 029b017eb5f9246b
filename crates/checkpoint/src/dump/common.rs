//! Private pages that processes of a tree have in common since a `fork(2)`: stored once, in a set inside of the set.
//!
//! ```text
//! DIR/pagemap-PID.img          says of such pages that the parent set has them (`PE_PARENT`)
//! DIR/parent/pagemap-PID.img   one for each process, all alike
//! DIR/parent/pages-1.img       the pages, once, in order of address
//! ```
//!
//! CRIU follows a set's `parent`, and does not care whether two pagemaps there name the same pages: it restores such a set as
//! any that builds on another. There is one page for each address: that of the first process which shares one there. Whether
//! another has the same is found by comparing bytes: nothing rests on numbers of page frames, which move.

use super::memory::{Expected, Source};
use crate::error::{Error, Step};
use crate::pieces::{self, PIECE_BYTES};
use crate::set::Writing;
use plimsoll_image::Kind;
use plimsoll_image::directory::PARENT_LINK;
use plimsoll_image::pagemap::{PE_LAZY, PE_PRESENT, Pagemap};
use plimsoll_image::proto::{PagemapEntry, PagemapHead};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Page;
use plimsoll_units::PageSize;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Less than that is not worth a directory.
const LEAST_BYTES: u64 = 4 << 20;

/// Pages that more than one process may have.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// In order of address, without overlap.
    owned: Vec<Owned>,
}

/// A piece of memory that the first process which has it stores for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owned {
    span: Span,
    /// Its place among the processes.
    owner: usize,
}

/// A piece to be compared.
struct Pair {
    span: Span,
    owner: usize,
}

impl Common {
    /// Where at least two processes have pages that are not theirs alone.
    pub(super) fn of(processes: &[Expected]) -> Self {
        let mut edges: BTreeMap<u64, Vec<(usize, bool)>> = BTreeMap::new();
        for (place, process) in processes.iter().enumerate() {
            for span in process.shared() {
                edges.entry(span.start).or_default().push((place, true));
                edges.entry(span.end).or_default().push((place, false));
            }
        }
        let owned = owned(edges);
        let bytes: u64 = owned.iter().map(|owned| owned.span.len()).sum();
        if bytes < LEAST_BYTES {
            return Self::default();
        }
        Self { owned }
    }

    /// The pages that a process has alike, in order: those that it owns, and those that are the same byte for byte.
    pub(super) fn alike(
        &self,
        place: usize,
        processes: &[Expected],
        page_size: PageSize,
    ) -> Result<Vec<Span>, Error> {
        let mut alike = Vec::new();
        let mut pairs = Vec::new();
        let Some(process) = processes.get(place) else {
            return Ok(alike);
        };
        for shared in process.shared() {
            let first = self
                .owned
                .partition_point(|owned| owned.span.end <= shared.start);
            let here = self.owned.iter().skip(first);
            for owned in here.take_while(|owned| owned.span.start < shared.end) {
                let Some(span) = owned.span.intersection(shared) else {
                    continue;
                };
                if owned.owner == place {
                    alike.push(span);
                } else {
                    let owner = owned.owner;
                    pairs.extend(cut(span).map(|span| Pair { span, owner }));
                }
            }
        }
        let same = Mutex::new(Vec::new());
        let mine = process.source(page_size)?;
        let sources = open_all(pairs.iter().map(|pair| pair.owner), processes, page_size)?;
        let step = Step::new("read the memory", mine.pid());
        let page = usize::try_from(page_size.get()).unwrap_or(usize::MAX);
        let compared = pieces::each(&pairs, |pair, buffer| -> std::io::Result<()> {
            let length = usize::try_from(pair.span.len()).unwrap_or(usize::MAX);
            let ours = buffer.get_mut(..length).unwrap_or_default();
            mine.read(Page::Shared, pair.span.start, ours)?;
            let mut theirs = vec![0; length];
            if let Some(source) = sources.get(&pair.owner) {
                source.read(Page::Shared, pair.span.start, &mut theirs)?;
                let pages = (0..).zip(ours.chunks(page).zip(theirs.chunks(page)));
                let found = pages.filter(|(_, (ours, theirs))| ours == theirs);
                let at = |number: u64| pair.span.start + number * page_size.get();
                let found = found.map(|(number, _)| Span::new(at(number), page_size.get()));
                let mut same = same.lock().unwrap_or_else(PoisonError::into_inner);
                same.extend(found);
            }
            Ok(())
        });
        compared.map_err(|error| step.failed(error))?;
        alike.extend(same.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(Span::joined(alike))
    }

    /// Those of them whose owners still have them as they were written: `unchanged` tells that by an owner's place.
    pub(super) fn unchanged(&self, unchanged: &[Vec<Span>]) -> Vec<Span> {
        let mut found = Vec::new();
        for owned in &self.owned {
            let of_owner = unchanged.get(owned.owner).map_or(&[][..], Vec::as_slice);
            found.extend(Span::common(&[owned.span], of_owner));
        }
        Span::joined(found)
    }

    /// Writes the set inside of the set at `prefix`, with a pagemap for each of these pids; gives how many pages it has.
    pub(super) fn write(
        &self,
        pids: &[u32],
        processes: &[Expected],
        set: &Writing,
        prefix: &str,
        page_size: PageSize,
    ) -> Result<u64, Error> {
        const ID: u32 = 1;
        let inner = format!("{prefix}{PARENT_LINK}");
        set.begin_inner(&inner)?;
        let name = |kind: Kind, id: u64| format!("{inner}/{}", kind.file_name(id));
        let file = set.create(&name(Kind::Pages, ID.into()))?;
        let mut offset = 0;
        let mut entries: Vec<PagemapEntry> = Vec::new();
        let mut pieces = Vec::new();
        for owned in &self.owned {
            for span in cut(owned.span) {
                pieces.push((span, owned.owner, offset));
                offset += span.len();
            }
            let count = owned.span.len() / page_size.get();
            let flags = PE_LAZY | PE_PRESENT;
            match entries.last_mut() {
                Some(last) if last.vaddr + last.pages() * page_size.get() == owned.span.start => {
                    *last = PagemapEntry::run(last.vaddr, last.pages() + count, flags);
                }
                _ => entries.push(PagemapEntry::run(owned.span.start, count, flags)),
            }
        }
        let sources = open_all(pieces.iter().map(|piece| piece.1), processes, page_size)?;
        let copied = pieces::each(&pieces, |(span, owner, offset), buffer| {
            let length = usize::try_from(span.len()).unwrap_or(usize::MAX);
            let bytes = buffer.get_mut(..length).unwrap_or_default();
            let source = sources.get(owner).ok_or(rustix::io::Errno::SRCH)?;
            source.read(Page::Shared, span.start, bytes)?;
            file.write_all_at(bytes, *offset)
        });
        copied.map_err(|source: std::io::Error| Error::file("write", "common pages", source))?;
        let map = Pagemap {
            head: PagemapHead { pages_id: ID }.into(),
            entries: entries.into_iter().map(Into::into).collect(),
        };
        for pid in pids {
            let name = name(Kind::Pagemap, (*pid).into());
            let bytes = map.write().map_err(|source| Error::image(&name, source))?;
            set.put(&name, &bytes)?;
        }
        Ok(offset / page_size.get())
    }
}

/// The parts that two or more have, each with the first of those who have it.
fn owned(edges: BTreeMap<u64, Vec<(usize, bool)>>) -> Vec<Owned> {
    let mut owned: Vec<Owned> = Vec::new();
    let mut holders = std::collections::BTreeSet::new();
    let mut at = 0;
    for (address, changes) in edges {
        if let Some(owner) = holders.first().copied().filter(|_| holders.len() > 1) {
            let span = Span {
                start: at,
                end: address,
            };
            match owned.last_mut() {
                Some(last) if (last.span.end, last.owner) == (at, owner) => last.span.end = address,
                _ => owned.push(Owned { span, owner }),
            }
        }
        for (place, begins) in changes {
            if begins {
                holders.insert(place);
            } else {
                holders.remove(&place);
            }
        }
        at = address;
    }
    owned
}

/// Those of some processes, each opened once.
fn open_all(
    places: impl Iterator<Item = usize>,
    processes: &[Expected],
    page_size: PageSize,
) -> Result<BTreeMap<usize, Source>, Error> {
    let mut sources = BTreeMap::new();
    for place in places {
        if let (false, Some(process)) = (sources.contains_key(&place), processes.get(place)) {
            sources.insert(place, process.source(page_size)?);
        }
    }
    Ok(sources)
}

fn cut(span: Span) -> impl Iterator<Item = Span> {
    (span.start..span.end)
        .step_by(PIECE_BYTES)
        .map(move |start| Span {
            start,
            end: span.end.min(start.saturating_add(PIECE_BYTES as u64)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_has_is_not_common() {
        let mut edges: BTreeMap<u64, Vec<(usize, bool)>> = BTreeMap::new();
        for (place, start, end) in [
            (0, 0x1000, 0x4000),
            (1, 0x2000, 0x6000),
            (2, 0x3000, 0x6000),
        ] {
            edges.entry(start).or_default().push((place, true));
            edges.entry(end).or_default().push((place, false));
        }
        let owned = owned(edges);
        let told: Vec<_> = owned
            .iter()
            .map(|it| (it.span.start, it.span.end, it.owner))
            .collect();
        assert_eq!(told, [(0x2000, 0x4000, 0), (0x4000, 0x6000, 1)]);
    }
}
