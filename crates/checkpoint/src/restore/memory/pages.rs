//! The stored pages of a process or an object, wherever in the images they lie.

use crate::error::Error;
use crate::pieces::PIECE_BYTES;
use crate::set::Reading;
use plimsoll_image::Kind;
use plimsoll_image::pagemap::X86_64_PAGE_BYTES;
use plimsoll_image::pages::{Place, SetPages, Stored};
use plimsoll_image::proto::VmaEntry;
use plimsoll_sys::Span;
use plimsoll_units::PageSize;
use std::collections::{BTreeMap, btree_map};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// The stored pages of a process or an object.
pub(in crate::restore) struct Pages {
    /// In order of address.
    runs: Vec<Stored>,
    bytes: Bytes,
    pub(super) page_size: PageSize,
}

/// Where stored pages are read.
enum Bytes {
    /// One after another in files: of a set so many parents up, of this number.
    Raw(BTreeMap<(u32, u32), File>),
    /// Some of them are packed: page by page, of this kind and number.
    Packed(Box<Mutex<SetPages>>, Kind, u64),
}

impl Bytes {
    /// Those of whole pages that lie one after another, from an address on.
    fn read(&self, run: Stored, into: &mut [u8], page_size: PageSize) -> Result<(), Error> {
        let failed = |source| Error::file("read", "pages", source);
        match self {
            Self::Raw(files) => {
                let Place {
                    level,
                    pages_id,
                    page,
                } = run.place;
                let nowhere = || Error::inconsistent(format!("pages file {pages_id} is not there"));
                let file = files.get(&(level, pages_id)).ok_or_else(nowhere)?;
                let offset = page.saturating_mul(X86_64_PAGE_BYTES);
                file.read_exact_at(into, offset).map_err(failed)
            }
            Self::Packed(pages, kind, id) => {
                let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
                let page = usize::try_from(page_size.get()).unwrap_or(usize::MAX);
                for (place, into) in into.chunks_mut(page).enumerate() {
                    let address = run.start + place as u64 * page_size.get();
                    let found = pages.read_address(*kind, *id, address, into);
                    if !found.map_err(|source| failed(std::io::Error::other(source)))? {
                        let what = format!("the page at {address:#x} is nowhere");
                        return Err(Error::inconsistent(what));
                    }
                }
                Ok(())
            }
        }
    }
}

impl Pages {
    pub(super) fn open(set: &Reading, pid: u32, page_size: PageSize) -> Result<Self, Error> {
        Self::open_kind(set, Kind::Pagemap, pid.into(), page_size)
    }

    /// Those of an object.
    pub(in crate::restore) fn of_object(
        set: &Reading,
        id: u32,
        page_size: PageSize,
    ) -> Result<Self, Error> {
        Self::open_kind(set, Kind::ShmemPagemap, id.into(), page_size)
    }

    fn open_kind(set: &Reading, kind: Kind, id: u64, page_size: PageSize) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let path = set.path(kind, id);
        if !path.exists() {
            return Ok(Self {
                runs: Vec::new(),
                bytes: Bytes::Raw(files),
                page_size,
            });
        }
        let mut pages = set.pages()?;
        let stored = pages.stored(kind, id);
        let runs =
            stored.map_err(|source| Error::file("read", path, std::io::Error::other(source)))?;
        let bytes = if pages.any_packed() {
            Bytes::Packed(Box::new(Mutex::new(pages)), kind, id)
        } else {
            for Place {
                level, pages_id, ..
            } in runs.iter().map(|run| run.place)
            {
                if let btree_map::Entry::Vacant(file) = files.entry((level, pages_id)) {
                    file.insert(set.open_pages(level, pages_id)?);
                }
            }
            Bytes::Raw(files)
        };
        Ok(Self {
            runs,
            bytes,
            page_size,
        })
    }

    /// The same, but for what lies in these spans.
    pub(in crate::restore) fn without(mut self, spans: &[Span]) -> Self {
        if !spans.is_empty() {
            let left = self.runs.iter().flat_map(|run| {
                let parts = Span::without(&[span(run)], spans).into_iter();
                parts.filter_map(|part| run.part(part.start, part.end))
            });
            self.runs = left.collect();
        }
        self
    }

    /// Where there are any.
    pub(in crate::restore) fn spans(&self) -> impl Iterator<Item = Span> {
        self.runs.iter().map(span)
    }

    pub(super) fn any_within(&self, vma: &VmaEntry) -> bool {
        let range = Span {
            start: vma.start,
            end: vma.end,
        };
        self.within(range).next().is_some()
    }

    /// What is stored of a range.
    pub(in crate::restore) fn within(&self, range: Span) -> impl Iterator<Item = Span> {
        self.runs_within(range).map(|run| span(&run))
    }

    /// The same, with where it lies.
    pub(super) fn runs_within(&self, range: Span) -> impl Iterator<Item = Stored> {
        let first = self.runs.partition_point(|run| run.end <= range.start);
        let rest = self.runs.get(first..).unwrap_or_default();
        rest.iter()
            .map_while(move |run| run.part(range.start, range.end))
    }

    /// From an address to the end of its run.
    fn run_at(&self, address: u64) -> Option<Stored> {
        let after = self.runs.partition_point(|run| run.start <= address);
        let run = self.runs.get(after.checked_sub(1)?)?;
        run.part(address, run.end)
    }

    /// Gives every stored run, with its bytes piece by piece, to `each`.
    pub(in crate::restore) fn for_each(
        &self,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; PIECE_BYTES];
        for piece in self.pieces() {
            let bytes = self.fetch(piece, &mut buffer)?;
            each(piece.start, bytes)?;
        }
        Ok(())
    }

    /// All that is stored, cut into pieces.
    pub(super) fn pieces(&self) -> Vec<Stored> {
        let cut = |run: &Stored| {
            let run = *run;
            let starts = (run.start..run.end).step_by(PIECE_BYTES);
            starts.filter_map(move |at| run.part(at, at.saturating_add(PIECE_BYTES as u64)))
        };
        self.runs.iter().flat_map(cut).collect()
    }

    /// Reads a piece into a buffer.
    pub(super) fn fetch<'b>(&self, piece: Stored, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let length = usize::try_from(span(&piece).len()).unwrap_or(usize::MAX);
        let bytes = buffer.get_mut(..length).unwrap_or_default();
        self.bytes.read(piece, bytes, self.page_size)?;
        Ok(bytes)
    }

    /// The stored bytes from an address on, at most those of its run; none where that page is not stored.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<usize, Error> {
        let Some(run) = self.run_at(address) else {
            return Ok(0);
        };
        let length = usize::try_from(span(&run).len()).unwrap_or(usize::MAX);
        let length = length.min(into.len());
        let into = into.get_mut(..length).unwrap_or_default();
        self.bytes.read(run, into, self.page_size)?;
        Ok(length)
    }
}

pub(super) fn span(run: &Stored) -> Span {
    Span {
        start: run.start,
        end: run.end,
    }
}
