//! Memory: mappings made at their addresses, pages written into them, protection as it was.

use super::crew::Member;
use super::files::Files;
use super::inherited::{Inherited, span};
use super::kernel_mappings::KernelMapping;
use super::later::{Later, without};
use super::space::{move_kernel_mappings, word};
use super::task::{Memory, Task};
use super::transport::Transport;
use crate::error::{Error, Step};
use crate::pieces::{self, PIECE_BYTES};
use crate::set::Reading;
use crate::snapshot::Process;
use crate::vma::{DROPPABLE, Status, has_pages, status, unseen_by_children};
use plimsoll_image::pagemap::{PE_PRESENT, PageSpan, Pagemap};
use plimsoll_image::pages::SetPages;
use plimsoll_image::proto::{MmEntry, VmaEntry};
use plimsoll_image::{Entry, Kind, proto::PagemapEntry};
use plimsoll_sys::Span;
use plimsoll_units::PageSize;
use rustix::io::Errno;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// What memory is made of.
pub(super) struct Supplies<'m, 's> {
    pub(super) set: &'m Reading,
    pub(super) transport: &'m Transport,
    pub(super) files: &'m mut Files<'s>,
    /// What comes later.
    pub(super) later: &'m mut Later,
    pub(super) page_size: PageSize,
}

/// Gives a process its memory. What it is born with of its parent's (`parent`: whose, and which) it keeps where it had the
/// same, so that pages that both had since their `fork(2)` are shared again.
pub(super) fn fill(
    member: &mut Member,
    process: &Process,
    parent: Option<&Process>,
    supplies: &mut Supplies<'_, '_>,
) -> Result<(), Error> {
    let Supplies {
        set,
        transport,
        files,
        later,
        page_size,
    } = supplies;
    let Some(mm) = &process.mm else {
        return Ok(());
    };
    let inherited = match parent.and_then(|parent| parent.mm.as_ref()) {
        Some(parent) => Inherited::of(parent, mm),
        None => Inherited::default(),
    };
    let socket = member.socket;
    let task = &mut member.leader;
    for span in &inherited.unused {
        let args = [span.start, span.len()];
        task.call("unmap inherited memory of", libc::SYS_munmap, args)?;
    }
    move_kernel_mappings(task, &kernel_mappings(mm))?;
    let mut theirs = None;
    if let Some(parent) = parent.filter(|_| inherited.kept().next().is_some()) {
        let all = Pages::open(set, parent.pid(), *page_size)?;
        theirs = Some(all.without(later.absent(parent.pid())));
    }
    let pages = Pages::open(set, process.pid(), *page_size)?;
    later.settle(process.pid(), &pages, theirs.as_ref());
    let pages = pages.without(later.absent(process.pid()));
    let mut mapping = Mapping {
        transport,
        socket,
        files,
        last: None,
    };
    let mut reprotect = Vec::new();
    for vma in mm.vmas.iter().filter(|vma| is_made(vma)) {
        let written = has_pages(vma) && pages.any_within(vma);
        let opened = if written { vma.prot | WRITE } else { vma.prot };
        if inherited.keeps(vma) {
            protect(task, vma, opened)?;
        } else {
            mapping.make(task, vma, opened)?;
            advise(task, vma, !unseen_by_children())?;
        }
        if opened != vma.prot {
            reprotect.push(vma);
        }
    }
    mapping.close_last(task)?;
    match &theirs {
        Some(theirs) => {
            pages.drop_those_of(theirs, &inherited, task)?;
            pages.write(task, mm, Some((theirs, &inherited)))?;
        }
        None => pages.write(task, mm, None)?,
    }
    reprotect
        .into_iter()
        .try_for_each(|vma| protect(task, vma, vma.prot))
}

/// What is left to do once all children are born: advice that would keep memory from them, locks, guard pages.
pub(super) fn finish(task: &mut Task, mm: &MmEntry) -> Result<(), Error> {
    for vma in &mm.vmas {
        if is_made(vma) {
            advise(task, vma, unseen_by_children())?;
        }
        lock_or_guard(task, vma)?;
    }
    super::aio::make(task, mm)
}

fn protect(task: &mut Task, vma: &VmaEntry, protection: u32) -> Result<(), Error> {
    let args = [vma.start, vma.end - vma.start, protection.into()];
    task.call("protect memory of", libc::SYS_mprotect, args)?;
    Ok(())
}

const WRITE: u32 = libc::PROT_WRITE.unsigned_abs();

/// The kernel's mappings as the images have them: what the vdso reads is one mapping there.
fn kernel_mappings(mm: &MmEntry) -> Vec<KernelMapping> {
    let kernel = |vma: &&VmaEntry| status(vma).intersects(Status::VDSO | Status::VVAR);
    let found = mm.vmas.iter().filter(kernel).map(|vma| KernelMapping {
        span: Span {
            start: vma.start,
            end: vma.end,
        },
        is_vdso: status(vma).contains(Status::VDSO),
    });
    found.collect()
}

/// The others are the kernel's, or no mappings.
pub(super) fn is_made(vma: &VmaEntry) -> bool {
    let none = Status::VSYSCALL | Status::VDSO | Status::VVAR | Status::GUARD | Status::UPROBES;
    !status(vma).intersects(none)
}

/// Makes mappings one after the other; neighbours are often of one file.
struct Mapping<'m, 's> {
    transport: &'m Transport,
    socket: u32,
    files: &'m mut Files<'s>,
    /// File id, and its number in the task.
    last: Option<(u64, u32)>,
}

impl Mapping<'_, '_> {
    fn make(&mut self, task: &mut Task, vma: &VmaEntry, protection: u32) -> Result<(), Error> {
        let status = status(vma);
        if status.contains(Status::SYSVIPC) {
            return self.files.attach(task, vma);
        }
        let is_ring = status.contains(Status::AIORING);
        let of_file =
            status.intersects(Status::FILE_PRIVATE | Status::FILE_SHARED | Status::ANON_SHARED);
        let file = if of_file {
            Some(self.file(task, vma)?)
        } else {
            None
        };
        let kept = libc::MAP_SHARED
            | libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_GROWSDOWN
            | libc::MAP_NORESERVE
            | libc::MAP_HUGETLB
            | (0x3f << 26);
        let kept = word(kept) | u64::from(DROPPABLE);
        let mut flags = u64::from(vma.flags) & kept | word(libc::MAP_FIXED);
        if of_file {
            flags &= !word(libc::MAP_ANONYMOUS);
        } else if is_ring {
            // What it holds, until it takes the place.
            flags = word(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        }
        let length = vma.end.checked_sub(vma.start).filter(|length| *length > 0);
        let length = length.ok_or_else(|| {
            Error::inconsistent(format!(
                "a mapping at {:#x} ends before it begins",
                vma.start
            ))
        })?;
        let fd = file.map_or(u64::MAX, u64::from);
        let args = [vma.start, length, protection.into(), flags, fd, vma.pgoff];
        task.call("map memory of", libc::SYS_mmap, args)?;
        Ok(())
    }

    /// The number of a mapping's file in the task.
    fn file(&mut self, task: &mut Task, vma: &VmaEntry) -> Result<u32, Error> {
        if let Some((id, number)) = self.last.filter(|(id, _)| *id == vma.shmid) {
            debug_assert_eq!(id, vma.shmid);
            return Ok(number);
        }
        self.close_last(task)?;
        let file = self.files.mapped(vma)?;
        let number = self.transport.hand_over(task, self.socket, file)?;
        self.last = Some((vma.shmid, number));
        Ok(number)
    }

    fn close_last(&mut self, task: &mut Task) -> Result<(), Error> {
        if let Some((_, number)) = self.last.take() {
            task.call("close a descriptor", libc::SYS_close, [number.into()])?;
        }
        Ok(())
    }
}

fn advise(task: &mut Task, vma: &VmaEntry, which: u64) -> Result<(), Error> {
    let bits = vma.madv.unwrap_or(0) & which;
    for advice in (0..64u64).filter(|advice| bits >> advice & 1 == 1) {
        let args = [vma.start, vma.end - vma.start, advice];
        task.call("advise about memory of", libc::SYS_madvise, args)?;
    }
    Ok(())
}

fn lock_or_guard(task: &mut Task, vma: &VmaEntry) -> Result<(), Error> {
    let range = [vma.start, vma.end.saturating_sub(vma.start)];
    if status(vma).contains(Status::GUARD) {
        const MADV_GUARD_INSTALL: u64 = 102;
        let [start, length] = range;
        task.call(
            "guard memory of",
            libc::SYS_madvise,
            [start, length, MADV_GUARD_INSTALL],
        )?;
    } else if vma.flags & libc::MAP_LOCKED.unsigned_abs() != 0 && is_made(vma) {
        task.call("lock memory of", libc::SYS_mlock, range)?;
    }
    Ok(())
}

/// The stored pages of a process or an object.
pub(super) struct Pages {
    entries: Vec<Entry<PagemapEntry>>,
    /// Where in the file each of them begins.
    offsets: Vec<u64>,
    bytes: Bytes,
    page_size: PageSize,
}

/// Where stored pages are read.
enum Bytes {
    /// There are none.
    None,
    /// One after another in one file.
    Raw(File),
    /// Packed, or some of them in a set that this one builds on: page by page, of this kind and number.
    Anywhere(Box<Mutex<SetPages>>, Kind, u64),
}

impl Bytes {
    /// Those of whole pages that begin at an address, and at an offset of the file where there is one.
    fn read(
        &self,
        offset: u64,
        address: u64,
        into: &mut [u8],
        page_size: PageSize,
    ) -> Result<(), Error> {
        let failed = |source| Error::file("read", "pages", source);
        match self {
            Self::None => Err(Error::inconsistent("there are no pages")),
            Self::Raw(file) => file.read_exact_at(into, offset).map_err(failed),
            Self::Anywhere(pages, kind, id) => {
                let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
                let page = usize::try_from(page_size.get()).unwrap_or(usize::MAX);
                for (place, into) in into.chunks_mut(page).enumerate() {
                    let address = address + place as u64 * page_size.get();
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

/// Stored bytes, and where in the file they are.
#[derive(Debug, Clone, Copy)]
struct Piece {
    span: Span,
    offset: u64,
}

impl Pages {
    fn open(set: &Reading, pid: u32, page_size: PageSize) -> Result<Self, Error> {
        Self::open_kind(set, Kind::Pagemap, pid.into(), page_size)
    }

    /// Those of an object.
    pub(super) fn of_object(set: &Reading, id: u32, page_size: PageSize) -> Result<Self, Error> {
        Self::open_kind(set, Kind::ShmemPagemap, id.into(), page_size)
    }

    fn open_kind(set: &Reading, kind: Kind, id: u64, page_size: PageSize) -> Result<Self, Error> {
        let path = set.path(kind, id);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    entries: Vec::new(),
                    offsets: Vec::new(),
                    bytes: Bytes::None,
                    page_size,
                });
            }
            file => file.map_err(|source| Error::file("read", &path, source))?,
        };
        let map =
            Pagemap::read(BufReader::new(file)).map_err(|source| Error::image(&path, source))?;
        let present = |entry: &Entry<PagemapEntry>| entry.page_flags() & PE_PRESENT != 0;
        let raw = map.entries.iter().all(present) && !set.is_packed();
        let bytes = match (map.entries.is_empty(), raw) {
            (true, _) => Bytes::None,
            (_, true) => Bytes::Raw(set.open(Kind::Pages, map.head.pages_id)?),
            _ => Bytes::Anywhere(Box::new(Mutex::new(set.pages()?)), kind, id),
        };
        let mut next = 0;
        let offset = |entry: &Entry<PagemapEntry>| {
            let offset = next;
            next += entry.pages().saturating_mul(page_size.get());
            offset
        };
        Ok(Self {
            offsets: map.entries.iter().map(offset).collect(),
            entries: map.entries,
            bytes,
            page_size,
        })
    }

    /// The same, but for what lies in these spans.
    pub(super) fn without(self, spans: &[Span]) -> Self {
        if spans.is_empty() {
            return self;
        }
        let (mut entries, mut offsets) = (Vec::new(), Vec::new());
        for (entry, offset) in self.entries.iter().zip(&self.offsets) {
            let whole = Span {
                start: entry.vaddr,
                end: self.end(entry),
            };
            for part in without(&[whole], spans) {
                let pages = part.len() / self.page_size.get();
                let run = PagemapEntry::run(part.start, pages, entry.page_flags());
                entries.push(run.into());
                offsets.push(offset + (part.start - whole.start));
            }
        }
        Self {
            entries,
            offsets,
            ..self
        }
    }

    /// Where there are any.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.entries.iter().map(|entry| Span {
            start: entry.vaddr,
            end: self.end(entry),
        })
    }

    fn any_within(&self, vma: &VmaEntry) -> bool {
        let ends_before = |entry: &Entry<PagemapEntry>| self.end(entry) <= vma.start;
        let first = self.entries.partition_point(ends_before);
        self.entries
            .get(first)
            .is_some_and(|entry| entry.vaddr < vma.end)
    }

    fn end(&self, entry: &PagemapEntry) -> u64 {
        PageSpan::of(entry, self.page_size.get()).map_or(entry.vaddr, |span| span.end)
    }

    /// Gives every stored run, with its bytes piece by piece, to `each`.
    pub(super) fn for_each(
        &self,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; PIECE_BYTES];
        for piece in self.pieces() {
            let bytes = self.fetch(piece, &mut buffer)?;
            each(piece.span.start, bytes)?;
        }
        Ok(())
    }

    /// All that is stored, cut into pieces.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (entry, offset) in self.entries.iter().zip(&self.offsets) {
            let run = Span {
                start: entry.vaddr,
                end: self.end(entry),
            };
            let mut at = run.start;
            while at < run.end {
                let end = run.end.min(at.saturating_add(PIECE_BYTES as u64));
                pieces.push(Piece {
                    span: Span { start: at, end },
                    offset: offset + (at - run.start),
                });
                at = end;
            }
        }
        pieces
    }

    /// Reads a piece into a buffer.
    fn fetch<'b>(&self, piece: Piece, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let length = usize::try_from(piece.span.len()).unwrap_or(usize::MAX);
        let bytes = buffer.get_mut(..length).unwrap_or_default();
        let address = piece.span.start;
        self.bytes
            .read(piece.offset, address, bytes, self.page_size)?;
        Ok(bytes)
    }

    /// The stored bytes from an address on, at most those of its run; none where that page is not stored.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<usize, Error> {
        let after = |entry: &Entry<PagemapEntry>| entry.vaddr <= address;
        let place = self.entries.partition_point(after);
        let Some(place) = place.checked_sub(1) else {
            return Ok(0);
        };
        let (Some(entry), Some(offset)) = (self.entries.get(place), self.offsets.get(place)) else {
            return Ok(0);
        };
        let left = self.end(entry).saturating_sub(address);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let into = into.get_mut(..length).unwrap_or_default();
        if length > 0 {
            let offset = offset + (address - entry.vaddr);
            self.bytes.read(offset, address, into, self.page_size)?;
        }
        Ok(length)
    }

    /// Drops what a child has of its parent's pages and did not have.
    fn drop_those_of(
        &self,
        theirs: &Self,
        inherited: &Inherited<'_>,
        task: &mut Task,
    ) -> Result<(), Error> {
        let mut gone: Vec<Span> = Vec::new();
        for kept in inherited.kept() {
            for span in theirs.within(kept) {
                let mut at = span.start;
                for ours in self.within(span) {
                    gone.push(Span {
                        start: at,
                        end: ours.start,
                    });
                    at = ours.end;
                }
                gone.push(Span {
                    start: at,
                    end: span.end,
                });
            }
        }
        for span in gone.into_iter().filter(|span| !span.is_empty()) {
            const DONTNEED: u64 = libc::MADV_DONTNEED.unsigned_abs() as u64;
            let args = [span.start, span.len(), DONTNEED];
            task.call("drop inherited pages of", libc::SYS_madvise, args)?;
        }
        Ok(())
    }

    /// What is stored of a range.
    pub(super) fn within(&self, range: Span) -> impl Iterator<Item = Span> {
        let ends_before = move |entry: &Entry<PagemapEntry>| self.end(entry) <= range.start;
        let first = self.entries.partition_point(ends_before);
        let rest = self.entries.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |entry| entry.vaddr < range.end)
            .filter_map(move |entry| {
                let span = Span {
                    start: entry.vaddr,
                    end: self.end(entry),
                };
                span.intersection(range)
            })
    }

    /// Writes all pages; those of the vdso are compared, since it is the running kernel's, and so are those that are there
    /// already, since writing them would end their sharing.
    fn write(
        &self,
        task: &Task,
        mm: &MmEntry,
        inherited: Option<(&Self, &Inherited<'_>)>,
    ) -> Result<(), Error> {
        let vdso = mm
            .vmas
            .iter()
            .find(|vma| status(vma).contains(Status::VDSO));
        let vdso = vdso.map_or(Span::new(0, 0), span);
        let memory = task.memory();
        pieces::each(&self.pieces(), |piece, buffer| {
            let is_there = |(theirs, inherited): (&Self, &Inherited<'_>)| {
                self.is_the_same(piece.span, theirs, inherited)
            };
            if inherited.map(is_there).transpose()? == Some(true) {
                return Ok(()); // one page in the images, and in memory already
            }
            let bytes = self.fetch(*piece, buffer)?;
            let at = piece.span.start;
            if !vdso.contains(at) {
                return match inherited {
                    Some((theirs, inherited)) => {
                        self.write_new(memory, at, bytes, theirs, inherited)
                    }
                    None => memory.write(at, bytes),
                };
            }
            let mut present = vec![0; bytes.len()];
            memory.read(at, &mut present)?;
            if present == bytes {
                return Ok(());
            }
            Err(Step::new("use the vdso of another kernel in", memory.0).errno(Errno::NOTSUP))
        })
    }

    /// Whether a span is inherited, and its pages are those of the parent by their place in the images.
    fn is_the_same(
        &self,
        span: Span,
        theirs: &Self,
        inherited: &Inherited<'_>,
    ) -> Result<bool, Error> {
        let (Bytes::Anywhere(ours, kind, id), Bytes::Anywhere(others, _, other)) =
            (&self.bytes, &theirs.bytes)
        else {
            return Ok(false);
        };
        let mut at = span.start;
        while at < span.end {
            let place = |pages: &Mutex<SetPages>, id: u64| {
                let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
                let place = pages.place(*kind, id, at);
                place.map_err(|source| Error::file("read", "pages", std::io::Error::other(source)))
            };
            let ours = place(ours, *id)?;
            let has = inherited.at(at).is_some() && theirs.has(at);
            if !has || ours.is_none() || ours != place(others, *other)? {
                return Ok(false);
            }
            at += self.page_size.get();
        }
        Ok(true)
    }

    fn has(&self, address: u64) -> bool {
        let page = Span::new(address, self.page_size.get());
        self.within(page).next().is_some()
    }

    /// Writes what is not there already.
    fn write_new(
        &self,
        memory: Memory,
        at: u64,
        bytes: &[u8],
        theirs: &Self,
        inherited: &Inherited<'_>,
    ) -> Result<(), Error> {
        let page = usize::try_from(self.page_size.get()).unwrap_or(usize::MAX);
        let mut parents = vec![0; bytes.len()];
        let mut done = 0;
        // Pages that differ, not written yet.
        let mut begun = 0;
        while done < bytes.len() {
            let address = at + done as u64;
            let rest = parents.get_mut(done..).unwrap_or_default();
            let same_mapping = inherited.at(address).is_some();
            let length = if same_mapping {
                theirs.read(address, rest)?
            } else {
                0
            };
            if length == 0 {
                done += page;
                continue;
            }
            for start in (done..done + length).step_by(page) {
                let range = start..start + page;
                if bytes.get(range.clone()) == parents.get(range) {
                    let different = bytes.get(begun..start).unwrap_or_default();
                    if !different.is_empty() {
                        memory.write(at + begun as u64, different)?;
                    }
                    begun = start + page;
                }
            }
            done += length;
        }
        match bytes.get(begun..).filter(|rest| !rest.is_empty()) {
            Some(rest) => memory.write(at + begun as u64, rest),
            None => Ok(()),
        }
    }
}
