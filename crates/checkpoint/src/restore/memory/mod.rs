//! Memory: mappings made at their addresses ([`mapping`]), pages written into them ([`pages`], [`mod@write`]), protection as it was.

mod mapping;
mod pages;
mod write;

pub(super) use pages::Pages;

use super::crew::Member;
use super::files::Files;
use super::inherited::Inherited;
use super::kernel_mappings::KernelMapping;
use super::later::Later;
use super::space::move_kernel_mappings;
use super::task::Task;
use super::transport::Transport;
use crate::error::Error;
use crate::set::Reading;
use crate::snapshot::Process;
use crate::vma::{Status, has_pages, status, unseen_by_children};
use mapping::{Mapping, advise, lock_or_guard};
use plimsoll_image::proto::{MmEntry, VmaEntry};
use plimsoll_sys::Span;
use plimsoll_units::PageSize;

/// What memory is made of.
pub(super) struct Supplies<'m, 's> {
    pub(super) set: &'m Reading,
    pub(super) transport: &'m Transport,
    pub(super) files: &'m mut Files<'s>,
    /// What comes later.
    pub(super) later: &'m mut Later,
    pub(super) page_size: PageSize,
    /// How many pages there were so far.
    pub(super) pages: u64,
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
        pages: counted,
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
    *counted += pages.spans().map(Span::len).sum::<u64>() / page_size.get();
    let made = || mm.vmas.iter().filter(|vma| is_made(vma));
    let missing = made().filter(|vma| !inherited.keeps(vma));
    let mut mapping = Mapping::new(transport, socket, files, missing);
    let mut reprotect = Vec::new();
    for vma in made() {
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
    mapping.take_back(task)?;
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
