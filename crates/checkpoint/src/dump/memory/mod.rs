//! Memory: every mapping, and the pages that are a process's own or shared with no file behind them.
//!
//! First every process is looked at: its mappings ([`mappings`]) and which of its pages are stored ([`expected`]). Then all
//! pages are copied ([`pages`], read by [`source`]): those that several processes have alike once for all ([`super::common`]),
//! and none that was copied ahead and has not changed since ([`super::ahead`]), or that a parent set has alike
//! ([`super::parent`]). Shared objects are read once for the whole tree, by themselves ([`objects`]).

mod expected;
mod mappings;
mod objects;
mod pages;
mod source;

pub(super) use expected::Expected;
pub(super) use source::{Missed, Source};

use super::ahead::Kept;
use super::common::Common;
use super::files::Files;
use super::parent::Parent;
use crate::error::{Error, Step};
use crate::set::Writing;
use mappings::{Mapped, aio_ring};
use pages::Pages;
use plimsoll_image::Kind;
use plimsoll_image::pagemap::{PE_PARENT, PE_PRESENT};
use plimsoll_image::proto::MmEntry;
use plimsoll_proc::Root;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::Run;
use plimsoll_units::PageSize;
use rustix::process::Pid;
use std::io::Write;

/// How much is read before it is written, where pages are compared.
const BUFFER_BYTES: usize = 4 << 20;

/// What pages need not be written again for.
#[derive(Debug)]
pub(super) enum Base {
    /// Nothing: all are written, each once where processes have it in common since a `fork(2)`.
    Relatives,
    /// Nothing at all: every process has its own.
    None,
    /// Another set of the same tree, compared with.
    Parent(Parent),
    /// A set inside of this one, copied while the tree ran: these of its pages are good.
    Ahead(Kept),
}

/// Memory of the tree on its way to images.
#[derive(Debug)]
pub(super) struct Memory<'s> {
    set: &'s Writing,
    /// Where in the set: nothing, or the directory of a set inside of it.
    prefix: &'static str,
    base: Base,
    page_size: PageSize,
    /// Names of files of pages that are given out.
    pages_ids: u32,
    counts: Counts,
    /// What is to be written.
    expected: Vec<Expected>,
    buffer: Vec<u8>,
}

/// What became of pages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Written to this set.
    pub(super) written: u64,
    /// In the set that it builds on.
    pub(super) in_parent: u64,
}

/// What has been written of processes, each at its place among those expected.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) processes: Vec<WrittenProcess>,
    pub(super) common: Common,
}

/// What has been written of one process.
#[derive(Debug)]
pub(super) struct WrittenProcess {
    /// In a file of its own of this number, one after the other.
    pub(super) own: Vec<Span>,
    pub(super) pages_id: u32,
    /// Among those that several have in common.
    pub(super) alike: Vec<Span>,
}

impl<'s> Memory<'s> {
    pub(super) fn new(
        set: &'s Writing,
        prefix: &'static str,
        base: Base,
        page_size: PageSize,
    ) -> Self {
        Self {
            set,
            prefix,
            base,
            page_size,
            pages_ids: 0,
            counts: Counts::default(),
            expected: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// How many pages there have been.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The mappings of a process; its pages are noted, to be [written](Self::pages).
    pub(super) fn look(
        &mut self,
        root: &Root,
        pid: u32,
        files: &mut Files,
    ) -> Result<MmEntry, Error> {
        let mut vmas = mappings::of(root, pid, files)?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or(Error::NoProcess(pid))?;
        let ahead = match &mut self.base {
            Base::Ahead(kept) => kept.take(pid),
            _ => Vec::new(),
        };
        let (expected, guards) = Expected::of(raw, &vmas, ahead, self.page_size)?;
        self.expect(expected);
        vmas.extend(guards.into_iter().map(Mapped::guard));
        let rings = vmas.iter().filter_map(|mapped| aio_ring(&mapped.vma));
        Ok(MmEntry {
            aios: rings.collect(),
            vmas: vmas.into_iter().map(|mapped| mapped.vma).collect(),
            ..MmEntry::default()
        })
    }

    /// Notes pages of a process.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected.push(expected);
    }

    /// Writes the pages of all processes.
    pub(super) fn pages(&mut self) -> Result<Written, Error> {
        let processes = std::mem::take(&mut self.expected);
        let mut written = Written::default();
        if matches!(self.base, Base::Relatives) {
            written.common = Common::of(&processes);
        }
        let mut pids = Vec::new();
        for (place, process) in processes.iter().enumerate() {
            let alike = written.common.alike(place, &processes, self.page_size)?;
            if !alike.is_empty() {
                pids.push(process.pid().as_raw_pid().unsigned_abs());
            }
            let process = self.pages_of(process, alike)?;
            written.processes.push(process);
        }
        if !pids.is_empty() {
            let common = &written.common;
            self.counts.written +=
                common.write(&pids, &processes, self.set, self.prefix, self.page_size)?;
        }
        Ok(written)
    }

    /// Writes the pages of a process, but for those that the set inside of the set has.
    fn pages_of(&mut self, process: &Expected, alike: Vec<Span>) -> Result<WrittenProcess, Error> {
        let step = Step::new("read the memory", process.pid());
        let source = process.source(self.page_size)?;
        let id = process.pid().as_raw_pid().unsigned_abs();
        let mut pages = self.begin(Kind::Pagemap, id.into())?;
        let mut own = Vec::new();
        for (span, stored) in process.parts(&alike) {
            let Some((page, lazy)) = stored else {
                pages.add(span, PE_PARENT);
                continue;
            };
            let run = Run { span, page };
            own.push(span);
            if matches!(self.base, Base::Parent(_)) {
                self.copy(&source, &mut pages, run, lazy)
            } else {
                pages.expect(run, lazy, &source)
            }
            .map_err(|error| step.failed(error))?;
        }
        pages.copy(&source).map_err(|error| step.failed(error))?;
        self.counts.written += pages.expected() + process.ahead_pages(self.page_size);
        let pages_id = pages.id;
        pages.finish(self.set, self.prefix)?;
        Ok(WrittenProcess {
            own: Span::joined(own),
            pages_id,
            alike,
        })
    }

    fn begin(&mut self, kind: Kind, id: u64) -> Result<Pages, Error> {
        self.pages_ids += 1;
        let name = Kind::Pages.file_name(self.pages_ids.into());
        let file = self.set.create(&format!("{}{name}", self.prefix))?;
        Ok(Pages::new((kind, id), self.pages_ids, file, self.page_size))
    }

    /// Appends a run of pages, one after the other: what the parent has alike is not stored.
    fn copy(
        &mut self,
        source: &Source,
        pages: &mut Pages,
        run: Run,
        lazy: u32,
    ) -> std::io::Result<()> {
        self.in_pieces(
            run.span,
            |at, buffer| source.read(run.page, at, buffer),
            pages,
            lazy,
        )
    }

    /// Appends what a range holds, as `read` gives it for each address, but for the pages that the parent has alike.
    fn in_pieces(
        &mut self,
        span: Span,
        read: impl Fn(u64, &mut [u8]) -> std::io::Result<()>,
        pages: &mut Pages,
        lazy: u32,
    ) -> std::io::Result<()> {
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut at = span.start;
        while at < span.end {
            let length = (span.end - at).min(BUFFER_BYTES as u64);
            let length = usize::try_from(length).unwrap_or(BUFFER_BYTES);
            let buffer = self.buffer.get_mut(..length).unwrap_or_default();
            read(at, buffer)?;
            self.keep(pages, at, length, lazy)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Appends the first bytes of the buffer.
    fn keep(
        &mut self,
        pages: &mut Pages,
        at: u64,
        length: usize,
        lazy: u32,
    ) -> std::io::Result<()> {
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let pieces = match &mut self.base {
            Base::Parent(parent) => parent.split(pages.of, at, bytes, self.page_size)?,
            _ => vec![(bytes, false)],
        };
        let mut at = at;
        for (piece, in_parent) in pieces {
            let span = Span::new(at, piece.len() as u64);
            let count = span.len() / self.page_size.get();
            if in_parent {
                self.counts.in_parent += count;
                pages.add(span, PE_PARENT);
            } else {
                pages.file.write_all(piece)?;
                self.counts.written += count;
                pages.add(span, lazy | PE_PRESENT);
            }
            at = span.end;
        }
        Ok(())
    }
}
