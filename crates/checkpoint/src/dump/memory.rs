//! Memory: every mapping, and the pages that are a process's own or shared with no file behind them.
//!
//! Pages that this process alone maps are read by `process_vm_readv(2)`, all others through `/proc/PID/mem`, which
//! leaves those shared by `fork(2)` shared, and stored once ([`super::common`]). Shared objects are read once for the whole tree, by themselves, without
//! their holes (`lseek(2)`, `SEEK_DATA`).

use super::common::Common;
use super::files::Files;
use super::parent::Parent;
use crate::error::{Error, Step};
use crate::pieces::{self, PIECE_BYTES};
use crate::set::Writing;
use crate::vma::{ADVICE, DROPPABLE, Status, has_pages, status};
use plimsoll_image::pagemap::{PE_LAZY, PE_PARENT, PE_PRESENT, PageSpan};
use plimsoll_image::proto::{AioRingEntry, MmEntry, PagemapEntry, PagemapHead, VmaEntry};
use plimsoll_image::{Kind, pagemap};
use plimsoll_proc::Root;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::maps::Perms;
use plimsoll_proc::process::smaps::{self, Smap};
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_sys::pagemap::{Categories, Page, Pagemap, Region, Run, Scan};
use plimsoll_sys::{Span, vm};
use plimsoll_units::PageSize;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

/// How much is read before it is written.
const BUFFER_BYTES: usize = 4 << 20;

/// Memory of the tree on its way to images.
pub(super) struct Memory<'s> {
    set: &'s Writing,
    page_size: PageSize,
    /// Names of files of pages that are given out.
    pages_ids: u32,
    counts: Counts,
    /// The set that this one builds on.
    parent: Option<Parent>,
    /// Pages that processes have in common since a `fork(2)` are stored once.
    common_once: bool,
    /// What is to be written.
    expected: Vec<Expected>,
    buffer: Vec<u8>,
}

/// The pages of a process that are stored.
pub(super) struct Expected {
    pid: Pid,
    /// In order of address, each with its flags for the images.
    runs: Vec<(Run, u32)>,
}

impl Expected {
    /// Runs that others may have, too; not those of the kernel.
    pub(super) fn shared(&self) -> impl Iterator<Item = Span> {
        let shared = self.runs.iter();
        let shared = shared.filter(|(run, lazy)| run.page == Page::Shared && *lazy != 0);
        shared.map(|(run, _)| run.span)
    }

    pub(super) fn source(&self, page_size: PageSize) -> Result<Source, Error> {
        Source::open(self.pid, page_size)
    }
}

/// What became of pages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Written to this set.
    pub(super) written: u64,
    /// In the set that it builds on.
    pub(super) in_parent: u64,
}

/// Pages of one process or object: the list and the file.
struct Pages {
    /// Kind and number of their pagemap.
    of: (Kind, u64),
    id: u32,
    file: File,
    entries: Vec<PagemapEntry>,
    /// How long the file will be.
    written: u64,
    /// What is to be copied into it.
    pieces: Vec<Piece>,
}

/// A piece of memory, and where in the file it goes.
#[derive(Debug, Clone, Copy)]
struct Piece {
    span: Span,
    page: Page,
    offset: u64,
}

/// What the kernel put there, and all of it is wanted at once.
const STORED_WHOLE: Status = Status::VDSO.union(Status::AIORING);

/// How many are collected before they are copied.
const MOST_PIECES: usize = 4096;

impl<'s> Memory<'s> {
    pub(super) fn new(
        set: &'s Writing,
        parent: Option<Parent>,
        common_once: bool,
        page_size: PageSize,
    ) -> Self {
        Self {
            parent,
            common_once,
            expected: Vec::new(),
            set,
            page_size,
            pages_ids: 0,
            counts: Counts::default(),
            buffer: vec![0; BUFFER_BYTES],
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
        let mut vmas = mappings(root, pid, files)?;
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Error::NoProcess(pid))?;
        let step = Step::new("read the memory", raw);
        let source = Source::open(raw, self.page_size)?;
        let mut guards = Vec::new();
        let mut expected = Expected {
            pid: raw,
            runs: Vec::new(),
        };
        for vma in &vmas {
            let span = Span {
                start: vma.vma.start,
                end: vma.vma.end,
            };
            if !has_pages(&vma.vma) {
                continue;
            }
            let first_guard = guards.len();
            if vma.guarded {
                guards.extend(guard_pages(&source, span).map_err(|errno| step.errno(errno))?);
            }
            let lazy = if status(&vma.vma).intersects(STORED_WHOLE) {
                0
            } else {
                PE_LAZY
            };
            let runs = source.runs(vma).map_err(|errno| step.errno(errno))?;
            let guarded = guards.get(first_guard..).unwrap_or_default();
            let runs = runs.into_iter().flat_map(|run| without(run, guarded));
            expected.runs.extend(runs.map(|run| (run, lazy)));
        }
        self.expected.push(expected);
        vmas.extend(guards.into_iter().map(Mapped::guard));
        let rings = vmas.iter().filter_map(|mapped| aio_ring(&mapped.vma));
        Ok(MmEntry {
            aios: rings.collect(),
            vmas: vmas.into_iter().map(|mapped| mapped.vma).collect(),
            ..MmEntry::default()
        })
    }

    /// Writes the pages of all processes.
    pub(super) fn pages(&mut self) -> Result<(), Error> {
        let processes = std::mem::take(&mut self.expected);
        let mut common = Common::default();
        if self.common_once && self.parent.is_none() {
            common = Common::of(&processes);
        }
        let mut pids = Vec::new();
        for (place, process) in processes.iter().enumerate() {
            let alike = common.alike(place, &processes, self.page_size)?;
            if !alike.is_empty() {
                pids.push(process.pid.as_raw_pid().unsigned_abs());
            }
            self.pages_of(process, &alike)?;
        }
        if !pids.is_empty() {
            self.counts.written += common.write(&pids, &processes, self.set, self.page_size)?;
        }
        Ok(())
    }

    /// Writes the pages of a process, but for those that the set inside of the set has.
    fn pages_of(&mut self, process: &Expected, alike: &[Span]) -> Result<(), Error> {
        let step = Step::new("read the memory", process.pid);
        let source = process.source(self.page_size)?;
        let id = process.pid.as_raw_pid().unsigned_abs();
        let mut pages = self.begin(Kind::Pagemap, id.into())?;
        for (run, lazy) in &process.runs {
            let own = without(*run, alike)
                .into_iter()
                .map(|run| (run.span, false));
            let first = alike.partition_point(|span| span.end <= run.span.start);
            let common = alike.iter().skip(first);
            let common = common.map_while(|span| Some((span.intersection(run.span)?, true)));
            let mut parts: Vec<(Span, bool)> = own.chain(common).collect();
            parts.sort_unstable();
            for (span, is_common) in parts {
                if is_common {
                    let count = span.len() / self.page_size.get();
                    pages.add(span.start, count, PE_PARENT, self.page_size);
                } else if self.parent.is_some() {
                    let part = Run { span, ..*run };
                    self.copy(&source, &mut pages, part, *lazy)
                        .map_err(|error| step.failed(error))?;
                } else {
                    pages.expect(Run { span, ..*run }, *lazy, self.page_size);
                }
            }
            if pages.pieces.len() >= MOST_PIECES {
                pages.copy(&source).map_err(|error| step.failed(error))?;
            }
        }
        pages.copy(&source).map_err(|error| step.failed(error))?;
        self.counts.written += pages.written / self.page_size.get();
        self.end(pages)
    }

    /// The contents of shared objects that only memory holds.
    pub(super) fn shared(&mut self, files: &Files) -> Result<(), Error> {
        for (id, object) in files.memory_files() {
            let mut pages = self.begin(Kind::ShmemPagemap, id.into())?;
            self.copy_object(object, &mut pages)
                .map_err(|source| Error::file("read", format!("shared memory {id}"), source))?;
            self.end(pages)?;
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind, id: u64) -> Result<Pages, Error> {
        self.pages_ids += 1;
        Ok(Pages {
            of: (kind, id),
            id: self.pages_ids,
            file: self
                .set
                .create(&Kind::Pages.file_name(self.pages_ids.into()))?,
            entries: Vec::new(),
            written: 0,
            pieces: Vec::new(),
        })
    }

    fn end(&mut self, pages: Pages) -> Result<(), Error> {
        let (kind, id) = pages.of;
        let map = pagemap::Pagemap {
            head: PagemapHead { pages_id: pages.id }.into(),
            entries: pages.entries.into_iter().map(Into::into).collect(),
        };
        let name = kind.file_name(id);
        let bytes = map.write().map_err(|source| Error::image(&name, source))?;
        self.set.put(&name, &bytes)
    }

    /// Appends a run of pages, one after the other: what the parent has alike is not stored.
    fn copy(
        &mut self,
        source: &Source,
        pages: &mut Pages,
        run: Run,
        lazy: u32,
    ) -> std::io::Result<()> {
        let mut at = run.span.start;
        while at < run.span.end {
            let length = (run.span.end - at).min(BUFFER_BYTES as u64);
            let length = usize::try_from(length).unwrap_or(BUFFER_BYTES);
            let buffer = self.buffer.get_mut(..length).unwrap_or_default();
            source.read(run.page, at, buffer)?;
            self.keep(pages, at, length, lazy)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Appends the first bytes of the buffer, but for the pages that the parent has alike.
    fn keep(
        &mut self,
        pages: &mut Pages,
        at: u64,
        length: usize,
        lazy: u32,
    ) -> std::io::Result<()> {
        let page = self.page_size.get();
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let pieces = match &mut self.parent {
            None => vec![(bytes, false)],
            Some(parent) => parent.split(pages.of, at, bytes, self.page_size)?,
        };
        let mut at = at;
        for (piece, in_parent) in pieces {
            let count = piece.len() as u64 / page;
            if in_parent {
                self.counts.in_parent += count;
                pages.add(at, count, PE_PARENT, self.page_size);
            } else {
                pages.file.write_all(piece)?;
                self.counts.written += count;
                pages.add(at, count, lazy | PE_PRESENT, self.page_size);
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Appends what an object holds, without its holes.
    fn copy_object(&mut self, object: &File, pages: &mut Pages) -> std::io::Result<()> {
        let page = self.page_size.get();
        let mut at = 0;
        loop {
            let data = match seek(object, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => return Ok(()),
                data => data?,
            };
            let hole = seek(object, SeekFrom::Hole(data))?;
            let (start, end) = (data / page * page, hole.next_multiple_of(page));
            at = start;
            while at < end {
                let length = (end - at).min(BUFFER_BYTES as u64);
                let length = usize::try_from(length).unwrap_or(BUFFER_BYTES);
                let buffer = self.buffer.get_mut(..length).unwrap_or_default();
                let mut done = 0;
                while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    match object.read_at(rest, at + done as u64)? {
                        0 => {
                            rest.fill(0); // behind the end of the file, in its last page
                            break;
                        }
                        more => done += more,
                    }
                }
                self.keep(pages, at, length, 0)?;
                at += length as u64;
            }
        }
    }
}

impl Pages {
    /// Notes a run of pages, to be [copied](Self::copy).
    fn expect(&mut self, run: Run, lazy: u32, page_size: PageSize) {
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
        let count = run.span.len() / page_size.get();
        self.add(run.span.start, count, lazy | PE_PRESENT, page_size);
    }

    /// Copies what has been noted.
    fn copy(&mut self, source: &Source) -> std::io::Result<()> {
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

    /// Joins neighbours.
    fn add(&mut self, address: u64, count: u64, flags: u32, page_size: PageSize) {
        if let Some(last) = self.entries.last_mut()
            && PageSpan::of(last, page_size.get()).is_some_and(|span| span.end == address)
            && last.page_flags() == flags
        {
            *last = PagemapEntry::run(last.vaddr, last.pages() + count, flags);
            return;
        }
        self.entries.push(PagemapEntry::run(address, count, flags));
    }
}

/// Where a process's pages are read.
pub(super) struct Source {
    pid: Pid,
    memory: File,
    pagemap: Pagemap,
}

impl Source {
    fn open(pid: Pid, page_size: PageSize) -> Result<Self, Error> {
        let step = Step::new("read the memory", pid);
        let memory = File::open(format!("/proc/{}/mem", pid.as_raw_pid()));
        Ok(Self {
            pid,
            memory: memory.map_err(|error| step.failed(error))?,
            pagemap: Pagemap::open(pid, page_size).map_err(|error| step.failed(error))?,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// The runs of a mapping that are stored: its own pages, not those of a file, nor the zero page.
    fn runs(&self, mapped: &Mapped) -> Result<Vec<Run>, Errno> {
        let span = Span {
            start: mapped.vma.start,
            end: mapped.vma.end,
        };
        if status(&mapped.vma).intersects(STORED_WHOLE) {
            return Ok(vec![Run {
                span,
                page: Page::Shared,
            }]);
        }
        let mut runs = Vec::new();
        self.pagemap.runs(span, |run| {
            if !matches!(run.page, Page::File | Page::Zero) {
                runs.push(run);
            }
        })?;
        Ok(runs)
    }

    pub(super) fn read(&self, page: Page, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        if page == Page::Exclusive {
            let span = Span::new(at, into.len() as u64);
            if vm::read(self.pid, &[span], into) == Ok(into.len()) {
                return Ok(());
            }
            // A mapping that may not be read: its tracer may, through the file.
        }
        self.memory.read_exact_at(into, at)
    }
}

/// A mapping on its way.
struct Mapped {
    vma: VmaEntry,
    /// It holds guard pages.
    guarded: bool,
}

impl Mapped {
    fn guard(span: Span) -> Self {
        Self {
            vma: VmaEntry {
                start: span.start,
                end: span.end,
                status: Status::GUARD.bits(),
                fd: -1,
                ..VmaEntry::default()
            },
            guarded: false,
        }
    }
}

/// A run without its guard pages, which the kernel counts among those in swap: no page is behind them.
fn without(run: Run, guards: &[Span]) -> Vec<Run> {
    let mut left = Vec::new();
    let mut rest = run.span;
    for guard in guards
        .iter()
        .filter_map(|guard| guard.intersection(run.span))
    {
        left.push(Span {
            end: guard.start,
            ..rest
        });
        rest.start = guard.end;
    }
    left.push(rest);
    let runs = left.into_iter().filter(|span| !span.is_empty());
    runs.map(|span| Run { span, ..run }).collect()
}

fn guard_pages(source: &Source, span: Span) -> Result<Vec<Span>, Errno> {
    let wanted = Scan {
        any: Categories::GUARD,
        tell: Categories::GUARD,
        ..Scan::default()
    };
    let mut found = Vec::new();
    let mut regions = [Region::EMPTY; 64];
    let mut rest = span;
    while !rest.is_empty() {
        let scanned = source.pagemap.scan(rest, &wanted, &mut regions)?;
        found.extend(regions.iter().take(scanned.regions).map(Region::span));
        if scanned.walk_end <= rest.start {
            break;
        }
        rest.start = scanned.walk_end;
    }
    Ok(found)
}

/// All mappings of a process, as the images have them.
fn mappings(root: &Root, pid: u32, files: &mut Files) -> Result<Vec<Mapped>, Error> {
    let directory = root.open_dir(format!("proc/{pid}"))?;
    let mut all = Vec::new();
    let mut failed = None;
    let visit = |smap: &Smap<'_>| match mapped(pid, smap, files) {
        Ok(one) => all.push(one),
        Err(error) => failed = failed.take().or(Some(error)),
    };
    smaps::stream_file(&directory, &mut Vec::new(), visit)
        .map_err(|source| plimsoll_surgery::holds::LookError::Mappings { pid, source })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(merge_vvar(all)),
    }
}

/// The pages that the vdso reads are one mapping to the images, however many the kernel makes of them.
fn merge_vvar(all: Vec<Mapped>) -> Vec<Mapped> {
    let mut merged: Vec<Mapped> = Vec::with_capacity(all.len());
    let is_vvar =
        |mapped: &Mapped| Status::from_bits_retain(mapped.vma.status).contains(Status::VVAR);
    for mapped in all {
        match merged.last_mut() {
            Some(last) if is_vvar(last) && is_vvar(&mapped) && last.vma.end == mapped.vma.start => {
                last.vma.end = mapped.vma.end;
            }
            _ => merged.push(mapped),
        }
    }
    merged
}

fn mapped(pid: u32, smap: &Smap<'_>, files: &mut Files) -> Result<Mapped, Error> {
    let mapping = &smap.mapping;
    let flags = smap.flags.unwrap_or_default().known;
    let shared = mapping.is_shared();
    let mut vma = VmaEntry {
        start: mapping.start,
        end: mapping.end,
        pgoff: mapping.offset,
        prot: protection(mapping.perms),
        flags: if shared {
            bits(libc::MAP_SHARED)
        } else {
            bits(libc::MAP_PRIVATE)
        },
        fd: -1,
        madv: advice(flags),
        ..VmaEntry::default()
    };
    for (flag, bit) in [
        (VmFlag::GROWSDOWN, libc::MAP_GROWSDOWN),
        (VmFlag::LOCKED, libc::MAP_LOCKED),
        (VmFlag::NORESERVE, libc::MAP_NORESERVE),
        (VmFlag::HUGETLB, libc::MAP_HUGETLB),
    ] {
        if flags.contains(flag) {
            vma.flags |= bits(bit);
        }
    }
    if flags.contains(VmFlag::DROPPABLE) {
        vma.flags = vma.flags & !bits(libc::MAP_PRIVATE) | DROPPABLE;
    }
    if flags.contains(VmFlag::HUGETLB) {
        let size = smap.kernel_page_size.map_or(0, |size| size.get());
        vma.flags |= size.trailing_zeros() << 26; // MAP_HUGE_SHIFT
    }
    let name = mapping.name();
    let anonymous = |vma: &mut VmaEntry, status: Status| {
        vma.flags |= bits(libc::MAP_ANONYMOUS);
        vma.pgoff = 0;
        vma.status = (status | Status::ANON_PRIVATE).bits();
    };
    match name {
        MapName::Vsyscall => anonymous(&mut vma, Status::VSYSCALL),
        MapName::Vdso if mapping.inode == 0 => anonymous(&mut vma, Status::REGULAR | Status::VDSO),
        MapName::Vvar if mapping.inode == 0 => anonymous(&mut vma, Status::REGULAR | Status::VVAR),
        MapName::Special(name) if mapping.inode == 0 && name.starts_with(b"vvar") => {
            anonymous(&mut vma, Status::REGULAR | Status::VVAR);
        }
        MapName::Heap => anonymous(&mut vma, Status::REGULAR | Status::HEAP),
        MapName::Anonymous | MapName::Stack | MapName::AnonNamed(_) => {
            anonymous(&mut vma, Status::REGULAR)
        }
        MapName::AnonHugetlb if !shared => anonymous(&mut vma, Status::REGULAR),
        MapName::SharedAnonymous
        | MapName::Memfd(_)
        | MapName::AnonShmemNamed(_)
        | MapName::AnonHugetlb => {
            vma.status = Status::REGULAR.bits() | Status::MEMFD.bits() | of_file(shared).bits();
            if shared {
                vma.fdflags = Some(open_mode(flags));
            }
            vma.shmid = files
                .mapped_memory(pid, mapping, vma.fdflags.unwrap_or(0))?
                .into();
        }
        MapName::SysV { .. } if !flags.contains(VmFlag::HUGETLB) => {
            vma.status = (Status::REGULAR | Status::ANON_SHARED | Status::SYSVIPC).bits();
            vma.flags |= bits(libc::MAP_ANONYMOUS);
            vma.fdflags = Some(open_mode(flags));
            vma.shmid = files.mapped_segment(pid, mapping, &vma)?.into();
        }
        MapName::File {
            path: b"/[aio]",
            deleted: true,
        } => vma.status = Status::AIORING.bits(),
        MapName::File { .. } => {
            vma.status = Status::REGULAR.bits() | of_file(shared).bits();
            vma.fdflags = Some(if shared { open_mode(flags) } else { 0 });
            vma.shmid = files.mapped(pid, mapping, vma.fdflags.unwrap_or(0))?.into();
        }
        _ => {
            let name = plimsoll_proc::text::printable(mapping.raw_name);
            return Err(Error::inconsistent(format!(
                "process {pid} maps {name}, which can't be checkpointed"
            )));
        }
    }
    Ok(Mapped {
        vma,
        guarded: flags.contains(VmFlag::GUARD),
    })
}

/// A ring of `io_setup(2)`. The kernel doubles the number of events that it is asked for, adds two, and fills the last page;
/// a ring of the same length is what half of them asks for.
fn aio_ring(vma: &VmaEntry) -> Option<AioRingEntry> {
    const HEADER_BYTES: u64 = 32;
    const EVENT_BYTES: u64 = 32;
    let length = vma.end.checked_sub(vma.start)?;
    let events = length.checked_sub(HEADER_BYTES)? / EVENT_BYTES;
    let is_ring = status(vma).contains(Status::AIORING);
    Some(AioRingEntry {
        id: vma.start,
        nr_req: u32::try_from(events.checked_sub(2)? / 2).ok()?,
        ring_len: u32::try_from(length).ok()?,
    })
    .filter(|_| is_ring)
}

fn of_file(shared: bool) -> Status {
    if shared {
        Status::FILE_SHARED
    } else {
        Status::FILE_PRIVATE
    }
}

/// How the file of a shared mapping has to be opened: as it was, or it could not be made writable later.
fn open_mode(flags: VmFlag) -> u32 {
    if flags.contains(VmFlag::MAY_WRITE) {
        bits(libc::O_RDWR)
    } else {
        bits(libc::O_RDONLY)
    }
}

fn protection(perms: Perms) -> u32 {
    [
        (Perms::READ, libc::PROT_READ),
        (Perms::WRITE, libc::PROT_WRITE),
        (Perms::EXEC, libc::PROT_EXEC),
    ]
    .into_iter()
    .filter(|(perm, _)| perms.contains(*perm))
    .fold(0, |sum, (_, bit)| sum | bits(bit))
}

fn advice(flags: VmFlag) -> Option<u64> {
    let given = ADVICE.iter().filter(|(flag, _)| flags.contains(*flag));
    let bits = given.fold(0u64, |sum, (_, advice)| sum | 1 << advice);
    (bits != 0).then_some(bits)
}

fn bits(flags: i32) -> u32 {
    flags.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_pages_are_not_stored() {
        let run = |start, end| Run {
            span: Span { start, end },
            page: Page::Swapped,
        };
        let guards = [Span::new(0x1000, 0x1000), Span::new(0x4000, 0x2000)];
        let left = without(run(0x0, 0x5000), &guards);
        assert_eq!(left, [run(0x0, 0x1000), run(0x2000, 0x4000)]);
        assert_eq!(without(run(0x1000, 0x2000), &guards), []);
        assert_eq!(without(run(0x2000, 0x3000), &guards), [run(0x2000, 0x3000)]);
    }
}
