//! A task's address space made bare: nothing is left in it but the kernel's own mappings, where the images want them, and
//! our scratch pages.

use super::kernel_mappings::{self, KernelMapping};
use super::task::{Scratch, Task};
use crate::error::{Error, Step};
use plimsoll_sys::Span;
use plimsoll_units::PageSize;
use rustix::io::Errno;

/// The end of user space with four levels of page tables; nothing of ours is mapped above.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Where a hole is looked for: above `vm.mmap_min_addr` of any host, below every program.
const LOWEST: u64 = 0x1_0000;

/// Unmaps everything that was inherited, and maps the scratch pages.
pub(crate) fn make_bare(task: &mut Task, page_size: PageSize) -> Result<(), Error> {
    let kernel = kernel_mappings::extent(&kernel_mappings::of(task.tid)?);
    let below = [
        page_size.get(),
        kernel.start.saturating_sub(page_size.get()),
    ];
    let above = [kernel.end, TASK_SIZE.saturating_sub(kernel.end)];
    for range in [below, above] {
        task.call("empty the address space", libc::SYS_munmap, range)?;
    }
    for gap in gaps(&kernel_mappings::of(task.tid)?) {
        task.call(
            "empty the address space",
            libc::SYS_munmap,
            [gap.start, gap.len()],
        )?;
    }
    map_scratch(task)
}

fn map_scratch(task: &mut Task) -> Result<(), Error> {
    let Scratch(span) = task.scratch;
    let protection = word(libc::PROT_READ | libc::PROT_WRITE);
    let flags = word(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE);
    let args = [span.start, span.len(), protection, flags, u64::MAX, 0];
    task.call("map scratch memory", libc::SYS_mmap, args)?;
    Ok(())
}

/// Moves the kernel's mappings to where the images have them. Where they have none they are out of the way next to the scratch
/// pages, since calls are made by them, until they are [dismissed](dismiss_kernel_mappings).
pub(crate) fn move_kernel_mappings(task: &mut Task, wanted: &[KernelMapping]) -> Result<(), Error> {
    let present = kernel_mappings::of(task.tid)?;
    let (from, to) = (
        kernel_mappings::extent(&present),
        kernel_mappings::extent(wanted),
    );
    let aside = task.scratch.0.end;
    if wanted.is_empty() && from.start != aside {
        return shift(task, &present, from.start, aside);
    }
    if from == to || wanted.is_empty() {
        return Ok(());
    }
    if !same_shape(&present, wanted) {
        let step = Step::new("move the vdso", task.tid);
        return Err(step.errno(Errno::NOTSUP));
    }
    if from.intersection(to).is_some() {
        // Out of the way first: next to the scratch pages there is a hole for both.
        shift(task, &present, from.start, aside)?;
        let present = kernel_mappings::of(task.tid)?;
        return shift(task, &present, aside, to.start);
    }
    shift(task, &present, from.start, to.start)
}

/// Unmaps the kernel's mappings, by the last call that a task executes: its instruction goes with them.
pub(crate) fn dismiss_kernel_mappings(task: &mut Task) -> Result<(), Error> {
    let extent = kernel_mappings::extent(&kernel_mappings::of(task.tid)?);
    let range = [extent.start, extent.len()];
    task.call("unmap the vdso of", libc::SYS_munmap, range)?;
    Ok(())
}

/// Whether both are laid out alike: as long, with the code at the same distance. How the data are cut does not matter:
/// images have them in one piece.
pub(crate) fn same_shape(one: &[KernelMapping], other: &[KernelMapping]) -> bool {
    let shape = |mappings: &[KernelMapping]| {
        let whole = kernel_mappings::extent(mappings);
        let vdso = mappings.iter().find(|mapping| mapping.is_vdso);
        let vdso = vdso.map(|vdso| (vdso.span.start.wrapping_sub(whole.start), vdso.span.len()));
        (whole.len(), vdso)
    };
    shape(one) == shape(other)
}

fn shift(task: &mut Task, mappings: &[KernelMapping], from: u64, to: u64) -> Result<(), Error> {
    let flags = word(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED);
    for mapping in mappings {
        let Span { start, .. } = mapping.span;
        let length = mapping.span.len();
        let target = to.wrapping_add(start.wrapping_sub(from));
        task.call(
            "move the vdso",
            libc::SYS_mremap,
            [start, length, length, flags, target],
        )?;
        if mapping.is_vdso {
            task.vdso_moved(start, target)?;
        }
    }
    Ok(())
}

/// Between kernel mappings that do not touch.
fn gaps(mappings: &[KernelMapping]) -> Vec<Span> {
    mappings
        .windows(2)
        .filter_map(|pair| match pair {
            [one, next] if one.span.end < next.span.start => Some(Span {
                start: one.span.end,
                end: next.span.start,
            }),
            _ => None,
        })
        .collect()
}

/// A hole of this length that none of `taken` touches.
pub(crate) fn find_hole(taken: impl IntoIterator<Item = Span>, length: u64) -> Option<Span> {
    let mut taken: Vec<Span> = taken.into_iter().collect();
    taken.sort_unstable();
    let mut at = LOWEST;
    for span in taken {
        if span.start >= at.saturating_add(length) {
            break;
        }
        at = at.max(span.end);
    }
    let hole = Span::new(at, length);
    (hole.end <= TASK_SIZE).then_some(hole)
}

/// Flags as an argument of a call.
pub(crate) fn word(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_found_between_and_behind() {
        let taken = [Span::new(0x1_0000, 0x1000), Span::new(0x40_0000, 0x1000)];
        assert_eq!(find_hole(taken, 0x1000), Some(Span::new(0x1_1000, 0x1000)));
        assert_eq!(
            find_hole(taken, 0x40_0000),
            Some(Span::new(0x40_1000, 0x40_0000))
        );
        assert_eq!(find_hole([], u64::MAX), None);
    }

    #[test]
    fn shapes_are_compared_wherever_they_lie_and_however_they_are_cut() {
        let at = |base: u64, lengths: &[u64]| {
            let mut start = base;
            let mut all = Vec::new();
            for (i, length) in lengths.iter().enumerate() {
                all.push(KernelMapping {
                    span: Span::new(start, *length),
                    is_vdso: i + 1 == lengths.len(),
                });
                start += length;
            }
            all
        };
        assert!(same_shape(&at(0x1000, &[4, 2, 2]), &at(0x9000, &[6, 2])));
        assert!(!same_shape(&at(0x1000, &[4, 2]), &at(0x1000, &[2, 4])));
    }
}
