//! One stopped process sheds its memory into the store, a group of slices at a time: packed, durable, and only then
//! dropped.
//!
//! It is armed before the first page goes: should we be killed here, its threads run on, and who touches a page that
//! is gone waits for the next pager. Dropping a page of an armed range makes the kernel report it and the
//! dropping thread wait until the report is read; so a second thread reads, while this one has the target call
//! `madvise(2)`. The reports are told from the process's own by notes in the same log: what is about to be dropped by
//! us is written there first.

use crate::ParkError;
use crate::fault_point::fault_point;
use crate::pager::Dropping;
use crate::plan::{Plan, Stays};
use crate::runtime::Logs;
use crate::store::{PageSource, SLICE_BYTES, Slice, Slot, Writer};
use plimsoll_surgery::operate::Operation;
use plimsoll_sys::pagemap::{Page, Pagemap, Run};
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::uffd::{Modes, Uffd};
use plimsoll_sys::{Span, vm};
use plimsoll_units::{Bytes, PageSize};
use rustix::io::Errno;
use rustix::process::Pid;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is made durable, then dropped, at a time. Its pages stay where they are until then, so that this costs no
/// memory; it spreads the cost of a sync.
const GROUP_BYTES: u64 = 32 << 20;
/// How much of a mapping is looked at at a time.
const WINDOW_BYTES: u64 = 256 << 20;

/// The memory of stopped processes, by slot.
pub(crate) struct Tree {
    pub(crate) pids: Vec<Pid>,
}

impl PageSource for Tree {
    fn read(&self, slot: Slot, address: u64, into: &mut [u8]) -> io::Result<()> {
        let pid = self.pids.get(slot.0 as usize).copied().ok_or(Errno::SRCH)?;
        let span = Span::new(address, into.len() as u64);
        match vm::read(pid, &[span], into)? {
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
    pub(crate) source: &'s Tree,
    pub(crate) page_size: PageSize,
    /// Set when somebody wants this to end.
    pub(crate) interrupted: &'s AtomicBool,
    /// Told the bytes that have gone, group by group.
    pub(crate) progress: &'s mut dyn FnMut(u64),
}

impl Shedding<'_, '_> {
    /// Arms and sheds everything in the plan, and adds to what is left there.
    pub(crate) fn run(
        &mut self,
        plan: &mut Plan,
        writer: &mut Writer,
        logs: &Logs,
    ) -> Result<(), ParkError> {
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
        let source = self.source;
        let slot = self.slot;
        let pid_raw = source
            .pids
            .get(slot.0 as usize)
            .copied()
            .ok_or(ParkError::NoProcess(pid))?;
        let pagemap =
            Pagemap::open(pid_raw, self.page_size).map_err(|error| ParkError::Process {
                operation: "open the page map of",
                pid,
                source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?;
        let mut group = Group::default();
        for span in plan.movable.clone() {
            let mut at = span.start;
            while at < span.end {
                let window = Span::new(at, WINDOW_BYTES.min(span.end - at));
                let mut runs = Vec::new();
                pagemap
                    .runs(window, |run| runs.push(run))
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
        dropping.finish();
        Ok(())
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
        match run.page {
            Page::Exclusive | Page::Swapped => {}
            Page::Shared => {
                *plan.left.entry(Stays::SharedByFork).or_default() += Bytes(run.span.len());
                return Ok(());
            }
            Page::Zero | Page::File => return Ok(()),
        }
        let going: Vec<Span> = plan.without_kept(run.span).collect();
        for part in going {
            let mut at = part.start;
            while at < part.end {
                let bytes = (part.end - at).min(SLICE_BYTES as u64);
                group.add(self.slot, mapping, at, bytes);
                at += bytes;
                if group.bytes >= GROUP_BYTES {
                    self.flush(group, writer, dropping)?;
                }
            }
        }
        Ok(())
    }

    /// Packs a group, makes it durable, drops it.
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
        writer.pack(self.source, &group.slices)?;
        fault_point("durable");
        for span in &group.spans {
            self.drop_pages(*span, dropping)?;
        }
        (self.progress)(group.bytes);
        *group = Group::default();
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

/// Slices that are made durable together, and the spans that they are dropped by.
#[derive(Default)]
struct Group {
    slices: Vec<Slice>,
    spans: Vec<Span>,
    bytes: u64,
}

impl Group {
    /// A drop must not reach over the end of a mapping: the kernel reports it by mapping.
    fn add(&mut self, slot: Slot, mapping: Span, address: u64, bytes: u64) {
        self.slices.push(Slice {
            slot,
            address,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            shared_with: None,
        });
        self.bytes += bytes;
        match self.spans.last_mut() {
            Some(last) if last.end == address && mapping.contains(last.start) => {
                last.end = address + bytes
            }
            _ => self.spans.push(Span::new(address, bytes)),
        }
    }
}
