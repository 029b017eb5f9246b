//! One stopped process sheds its memory into the store, a group of slices at a time: packed, durable, and only then
//! dropped.
//!
//! It is armed before the first page goes: should we be killed here, its threads run on, and who touches a page that
//! is gone waits for the next pager. Dropping a page of an armed range makes the kernel report it and the
//! dropping thread wait until the report is read; so a second thread reads, while this one has the target call
//! `madvise(2)`. The reports are told from the process's own by notes in the same log: what is about to be dropped by
//! us is written there first.
//!
//! Pages that several processes of the tree share since a fork ([`Family`]) are packed, or named, with the others, but
//! dropped last, from all of them ([`Shedding::drop_shared`]): until then their frames tell who shares with whom.

use crate::ParkError;
use crate::family::{Family, Fate};
use crate::fault_point::fault_point;
use crate::pager::Dropping;
use crate::plan::{Plan, Stays};
use crate::runtime::Logs;
use crate::store::{
    Origin, PageSource, SLICE_BYTES, Sealer, Slice, Slot, Store, StoreError, Writer, Written,
};
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_sys::pagemap::{Page, Pagemap, Run};
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::uffd::{Modes, Uffd};
use plimsoll_sys::{Span, vm};
use plimsoll_units::{Bytes, PageSize};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is made durable, then dropped, at a time. Its pages stay where they are until then, so that this costs no
/// memory; it spreads the cost of a sync.
const GROUP_BYTES: u64 = 32 << 20;
/// What it takes to say where pages are stored: a block.
const NAME_BYTES: u64 = 4096;
/// How much of a mapping is looked at at a time.
const WINDOW_BYTES: u64 = 256 << 20;

/// The memory of stopped processes, by slot.
pub(crate) struct Tree {
    members: Vec<(Pid, File)>,
    family: Family,
}

impl Tree {
    /// The memory of these, with what is planned for each.
    pub(crate) fn open(
        processes: &[StoppedProcess],
        plans: &[Plan],
        page_size: PageSize,
    ) -> Result<Self, ParkError> {
        let mut members = Vec::with_capacity(processes.len());
        for name in processes.iter().map(|process| process.name) {
            let pid = name.pid().ok_or(ParkError::NoProcess(name.pid))?;
            let memory = File::open(format!("/proc/{pid}/mem"));
            let memory = memory.map_err(|error| ParkError::Process {
                operation: "open the memory of",
                pid: name.pid,
                source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?;
            members.push((pid, memory));
        }
        let pids: Vec<Pid> = members.iter().map(|(pid, _)| *pid).collect();
        Ok(Self {
            family: Family::new(&pids, plans, page_size)?,
            members,
        })
    }
}

impl PageSource for Tree {
    fn read(&self, slice: &Slice, into: &mut [u8]) -> io::Result<()> {
        let member = self.members.get(slice.slot.0 as usize);
        let (pid, memory) = member.ok_or(Errno::SRCH)?;
        if slice.origin == Origin::Shared {
            // process_vm_readv(2) would make the reader's process a copy of its own.
            return memory.read_exact_at(into, slice.address);
        }
        let span = Span::new(slice.address, into.len() as u64);
        match vm::read(*pid, &[span], into)? {
            read if read == into.len() => Ok(()),
            _ => Err(Errno::FAULT.into()),
        }
    }
}

/// One process on its way out.
pub(crate) struct Shedding<'s, 'p> {
    pub(crate) slot: Slot,
    pub(crate) operation: Operation<'p>,
    pub(crate) uffd: &'s Uffd,
    pub(crate) tree: &'s Tree,
    /// Set when somebody wants this to end.
    pub(crate) interrupted: &'s AtomicBool,
    /// Told the bytes that have gone, group by group.
    pub(crate) progress: &'s mut dyn FnMut(u64),
    /// Whether pages were packed that are dropped last.
    pub(crate) shares: bool,
    /// The group that is written and neither durable nor dropped: both are done while the next is packed.
    pub(crate) pending: Option<Pending>,
}

/// A group that is written.
pub(crate) struct Pending {
    written: Written,
    spans: Vec<Span>,
}

impl<'s> Shedding<'s, '_> {
    /// Arms everything in the plan, sheds what is this process's alone, and adds to what is left there. Gives whether
    /// there are shared pages to be dropped later.
    pub(crate) fn run(
        &mut self,
        plan: &mut Plan,
        writer: &mut Writer,
        logs: &Logs,
    ) -> Result<bool, ParkError> {
        let pid = self.operation.pid();
        let failed = |source| ParkError::NoUserfaultfd { pid, source };
        // Mappings that refuse stay.
        let mut armed = Vec::with_capacity(plan.movable.len());
        for span in plan.movable.drain(..) {
            match self.uffd.register(span, Modes::MISSING) {
                Ok(_) => armed.push(span),
                Err(Errno::BUSY) => return Err(ParkError::UsesUserfaultfd { pid }),
                Err(Errno::PERM | Errno::INVAL) => {
                    *plan.left.entry(Stays::Unusual).or_default() += Bytes(span.len());
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        plan.movable = armed;
        fault_point("armed");
        let dropping = Dropping::new(self.uffd, logs)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let pagemap = self.pagemap()?;
        let mut group = Group::default();
        for span in plan.movable.clone() {
            let mut at = span.start;
            while at < span.end {
                let window = Span::new(at, WINDOW_BYTES.min(span.end - at));
                let mut runs = Vec::new();
                pagemap
                    .huge(window, |huge| plan.huge.push(huge))
                    .and_then(|()| pagemap.runs(window, |run| runs.push(run)))
                    .map_err(|source| ParkError::Process {
                        operation: "read the page map of",
                        pid,
                        source,
                    })?;
                for run in runs {
                    self.take(run, span, &mut group, plan, writer, &dropping)?;
                }
                at = window.end;
            }
        }
        self.flush(&mut group, writer, &dropping)?;
        self.settle(&writer.sealer(), &dropping)?;
        dropping.finish();
        Ok(self.shares)
    }

    fn pagemap(&self) -> Result<&'s Pagemap, ParkError> {
        let pagemap = self.tree.family.pagemap(self.slot);
        pagemap.ok_or(ParkError::NoProcess(self.operation.pid()))
    }

    fn take(
        &mut self,
        run: Run,
        mapping: Span,
        group: &mut Group,
        plan: &mut Plan,
        writer: &mut Writer,
        dropping: &Dropping<'_>,
    ) -> Result<(), ParkError> {
        let going: Vec<Span> = match run.page {
            Page::Exclusive | Page::Swapped | Page::Shared => plan.without_kept(run.span).collect(),
            Page::Zero | Page::File => return Ok(()),
        };
        for part in going {
            if run.page != Page::Shared {
                self.gather(part, mapping, Origin::Own, group, writer, dropping)?;
                continue;
            }
            let stored_until = |slot, address| writer.stored_until(slot, address);
            for (span, fate) in self.tree.family.fates(self.slot, part, stored_until)? {
                let origin = match fate {
                    Fate::Goes => Origin::Shared,
                    Fate::Stored(elder) => Origin::Stored(elder, span.start),
                    Fate::Stays => {
                        *plan.left.entry(Stays::SharedByFork).or_default() += Bytes(span.len());
                        continue;
                    }
                };
                self.gather(span, mapping, origin, group, writer, dropping)?;
            }
        }
        Ok(())
    }

    /// Puts a run into groups that are packed as they fill.
    fn gather(
        &mut self,
        run: Span,
        mapping: Span,
        origin: Origin,
        group: &mut Group,
        writer: &mut Writer,
        dropping: &Dropping<'_>,
    ) -> Result<(), ParkError> {
        self.shares |= origin != Origin::Own;
        if let Origin::Stored(..) = origin {
            group.name(self.slot, run, origin);
            return Ok(());
        }
        let mut at = run.start;
        while at < run.end {
            let part = Span::new(at, (run.end - at).min(SLICE_BYTES as u64));
            group.add(self.slot, mapping, part, origin);
            at = part.end;
            if group.bytes >= GROUP_BYTES {
                self.flush(group, writer, dropping)?;
            }
        }
        Ok(())
    }

    /// Packs a group; meanwhile makes the one before durable, and drops it.
    fn flush(
        &mut self,
        group: &mut Group,
        writer: &mut Writer,
        dropping: &Dropping<'_>,
    ) -> Result<(), ParkError> {
        if group.slices.is_empty() {
            return Ok(());
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(ParkError::Interrupted);
        }
        let sealer = writer.sealer();
        let tree = self.tree;
        let Group { slices, spans, .. } = std::mem::take(group);
        let written = std::thread::scope(|scope| {
            let packing = scope.spawn(|| writer.write(tree, &slices));
            let settled = self.settle(&sealer, dropping);
            let written = packing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            settled.and_then(|()| Ok(written?))
        })?;
        self.pending = Some(Pending { written, spans });
        Ok(())
    }

    /// Makes durable what is written, then drops it.
    fn settle(&mut self, sealer: &Sealer, dropping: &Dropping<'_>) -> Result<(), ParkError> {
        let Some(Pending { written, spans }) = self.pending.take() else {
            return Ok(());
        };
        sealer.seal(&written)?;
        fault_point("durable");
        for span in &spans {
            self.drop_pages(*span, dropping)?;
        }
        (self.progress)(spans.iter().map(|span| span.len()).sum());
        Ok(())
    }

    /// Drops what is stored and still there, once all that share it have it stored.
    pub(crate) fn drop_shared(
        &mut self,
        plan: &Plan,
        store: &Store,
        logs: &Logs,
    ) -> Result<(), ParkError> {
        let pid = self.operation.pid();
        let dropping = Dropping::new(self.uffd, logs).map_err(|error| ParkError::Process {
            operation: "listen to",
            pid,
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        let pagemap = self.pagemap()?;
        for mapping in &plan.movable {
            let mut at = mapping.start;
            while let Some(stored) = stored_run(store, self.slot, *mapping, at)? {
                if self.interrupted.load(Ordering::Relaxed) {
                    return Err(ParkError::Interrupted);
                }
                for span in present(pagemap, stored, pid)? {
                    self.drop_pages(span, &dropping)?;
                    (self.progress)(span.len());
                }
                at = stored.end;
            }
        }
        dropping.finish();
        Ok(())
    }

    fn drop_pages(&mut self, span: Span, dropping: &Dropping<'_>) -> Result<(), ParkError> {
        let pid = self.operation.pid();
        let failed = |source| ParkError::Process {
            operation: "note what is dropped of",
            pid,
            source,
        };
        dropping.about_to(span).map_err(failed)?;
        fault_point("about-to-drop");
        let advice = libc::MADV_DONTNEED.unsigned_abs().into();
        let call = Syscall::new(libc::SYS_madvise, [span.start, span.len(), advice]);
        self.operation.call("drop stored pages", call)?;
        fault_point("dropped");
        dropping.done().map_err(failed)
    }
}

/// The next pages of a mapping that are stored, frames that follow each other joined.
fn stored_run(
    store: &Store,
    slot: Slot,
    mapping: Span,
    at: u64,
) -> Result<Option<Span>, StoreError> {
    let page_size = store.identity().page_size;
    let mut joined: Option<Span> = None;
    let mut at = at;
    while let Some(run) = store.at_or_after(slot, at)? {
        let run = Span {
            start: run.address.max(at),
            end: run.end(page_size),
        };
        let Some(run) = run.intersection(mapping) else {
            break;
        };
        match &mut joined {
            None => joined = Some(run),
            Some(span) if span.end == run.start && span.len() < WINDOW_BYTES => span.end = run.end,
            Some(_) => break,
        }
        at = run.end;
    }
    Ok(joined)
}

/// The pages of `span` that are there, neighbours joined.
fn present(pagemap: &Pagemap, span: Span, pid: u32) -> Result<Vec<Span>, ParkError> {
    let mut there: Vec<Span> = Vec::new();
    let runs = pagemap.runs(span, |run| match there.last_mut() {
        Some(last) if last.end == run.span.start => last.end = run.span.end,
        _ => there.push(run.span),
    });
    runs.map_err(|source| ParkError::Process {
        operation: "read the page map of",
        pid,
        source,
    })?;
    Ok(there)
}

/// Slices that are made durable together, and the spans that they are dropped by.
#[derive(Default)]
struct Group {
    slices: Vec<Slice>,
    spans: Vec<Span>,
    /// What packing it takes.
    bytes: u64,
}

impl Group {
    /// A drop must not reach over the end of a mapping: the kernel reports it by mapping.
    fn add(&mut self, slot: Slot, mapping: Span, part: Span, origin: Origin) {
        self.slices.push(Slice {
            slot,
            address: part.start,
            bytes: usize::try_from(part.len()).unwrap_or(usize::MAX),
            origin,
        });
        self.bytes += part.len();
        if origin != Origin::Own {
            return; // dropped last
        }
        match self.spans.last_mut() {
            Some(last) if last.end == part.start && mapping.contains(last.start) => {
                last.end = part.end;
            }
            _ => self.spans.push(part),
        }
    }

    /// Pages that are stored already.
    fn name(&mut self, slot: Slot, run: Span, origin: Origin) {
        self.slices.push(Slice {
            slot,
            address: run.start,
            bytes: usize::try_from(run.len()).unwrap_or(usize::MAX),
            origin,
        });
        self.bytes += NAME_BYTES;
    }
}
