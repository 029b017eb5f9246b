//! The pages of one process or object on their way into images: the list (`pagemap`), and the file.
//!
//! The list comes first and says where in the file each page goes; then all pieces are copied at once, in any order.

use super::source::Source;
use crate::error::Error;
use crate::pieces::{self, PIECE_BYTES};
use crate::set::Writing;
use plimsoll_image::Kind;
use plimsoll_image::pagemap::{PE_PRESENT, PageSpan, Pagemap};
use plimsoll_image::proto::{PagemapEntry, PagemapHead};
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Run};
use plimsoll_units::PageSize;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How many pieces are collected before they are copied.
const MOST_PIECES: usize = 4096;

/// The list and the file.
#[derive(Debug)]
pub(super) struct Pages {
    /// Kind and number of their pagemap.
    pub(super) of: (Kind, u64),
    pub(super) id: u32,
    pub(super) file: File,
    entries: Vec<PagemapEntry>,
    /// How long the file will be.
    written: u64,
    /// What is to be copied into it.
    pieces: Vec<Piece>,
    page_size: PageSize,
}

/// A piece of memory, and where in the file it goes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    span: Span,
    page: Page,
    offset: u64,
}

impl Pages {
    pub(super) fn new(of: (Kind, u64), id: u32, file: File, page_size: PageSize) -> Self {
        Self {
            of,
            id,
            file,
            entries: Vec::new(),
            written: 0,
            pieces: Vec::new(),
            page_size,
        }
    }

    /// Notes a run of pages, to be [copied](Self::copy); many at once are copied now.
    pub(super) fn expect(&mut self, run: Run, lazy: u32, source: &Source) -> std::io::Result<()> {
        let mut at = run.span.start;
        while at < run.span.end {
            let end = run.span.end.min(at.saturating_add(PIECE_BYTES as u64));
            self.pieces.push(Piece {
                span: Span { start: at, end },
                page: run.page,
                offset: self.written,
            });
            self.written += end - at;
            at = end;
        }
        self.add(run.span, lazy | PE_PRESENT);
        if self.pieces.len() >= MOST_PIECES {
            self.copy(source)?;
        }
        Ok(())
    }

    /// Copies what has been noted.
    pub(super) fn copy(&mut self, source: &Source) -> std::io::Result<()> {
        let file = &self.file;
        pieces::each(&self.pieces, |piece, buffer| {
            let length = usize::try_from(piece.span.len()).unwrap_or(usize::MAX);
            let bytes = buffer.get_mut(..length).ok_or(Errno::FBIG)?;
            source.read(piece.page, piece.span.start, bytes)?;
            file.write_all_at(bytes, piece.offset)
        })?;
        self.pieces.clear();
        Ok(())
    }

    /// How many pages have been expected.
    pub(super) fn expected(&self) -> u64 {
        self.written / self.page_size.get()
    }

    /// Adds pages to the list, after all that are there; neighbours are joined.
    pub(super) fn add(&mut self, span: Span, flags: u32) {
        let page = self.page_size.get();
        let count = span.len() / page;
        if let Some(last) = self.entries.last_mut()
            && PageSpan::of(last, page).is_some_and(|last| last.end == span.start)
            && last.page_flags() == flags
        {
            *last = PagemapEntry::run(last.vaddr, last.pages() + count, flags);
            return;
        }
        self.entries
            .push(PagemapEntry::run(span.start, count, flags));
    }

    /// Puts the list into the set, in the directory that `prefix` names.
    pub(super) fn finish(self, set: &Writing, prefix: &str) -> Result<(), Error> {
        let (kind, id) = self.of;
        let map = Pagemap {
            head: PagemapHead { pages_id: self.id }.into(),
            entries: self.entries.into_iter().map(Into::into).collect(),
        };
        let name = format!("{prefix}{}", kind.file_name(id));
        let bytes = map.write().map_err(|source| Error::image(&name, source))?;
        set.put(&name, &bytes)
    }
}
