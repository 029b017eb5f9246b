//! Which pages a restore needs at once, and which may come when the process runs again. Pure.
//!
//! Later may come what the kernel waits for on behalf of the process: pages of private mappings that are neither locked nor
//! special. At once has to come what is touched while the process is put together: what threads stand on and point to, and what
//! others read of it (arguments, environment).

use crate::pagemap::X86_64_PAGE_BYTES;
use crate::proto::{CoreEntry, MmEntry, VmaEntry};

const MAP_PRIVATE: u32 = 0x2;
const MAP_LOCKED: u32 = 0x2000;
const MAP_HUGETLB: u32 = 0x4_0000;
const MAP_GROWSDOWN: u32 = 0x100;
/// `MAP_PRIVATE` with a bit more is neither.
const MAP_DROPPABLE: u32 = 0x8;

const ANON_PRIVATE: u32 = 1 << 9;
const GUARD: u32 = 1 << 16;

/// MADV_DONTFORK, MADV_WIPEONFORK: bits of `vma_entry.madv`.
const UNLIKE_IN_CHILDREN: u64 = 1 << 10 | 1 << 18;

/// Status bits of mappings that the kernel or the restorer has its own ideas of: VSYSCALL, VDSO, VVAR, AIORING, SHSTK, UPROBES.
const SPECIAL: u32 = 1 << 2 | 1 << 3 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 17;

/// Signal frames and red zones lie below a stack pointer; what was called last lies above it.
const BELOW_STACK_POINTER: u64 = 2 * X86_64_PAGE_BYTES;
const ABOVE_STACK_POINTER: u64 = X86_64_PAGE_BYTES;

/// The thread's own block of the C library lies around its pointer.
const AROUND_THREAD_POINTER: u64 = X86_64_PAGE_BYTES;

/// Addresses of one process of which pages may come later, and of which not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LazyPlan {
    /// Ranges that may be served later, half-open, in order.
    lazy: Vec<(u64, u64)>,
    /// Ranges within them that may not.
    eager: Vec<(u64, u64)>,
}

impl LazyPlan {
    /// Plans for a process with these mappings and threads.
    pub fn new<'a>(mm: &MmEntry, threads: impl IntoIterator<Item = &'a CoreEntry>) -> Self {
        let lazy = mm.vmas.iter().filter(|vma| can_be_lazy(vma));
        let mut eager = vec![(
            mm.mm_start_stack.min(mm.mm_arg_start),
            mm.mm_env_end.max(mm.mm_arg_end),
        )];
        for thread in threads {
            eager.extend(needed_by(thread));
        }
        Self {
            lazy: lazy.map(|vma| (vma.start, vma.end)).collect(),
            eager,
        }
    }

    /// Whether the page at this address may come later.
    pub fn may_be_later(&self, page: u64) -> bool {
        let end = page.saturating_add(X86_64_PAGE_BYTES);
        let after = self.lazy.partition_point(|(start, _)| *start <= page);
        let inside = after.checked_sub(1).and_then(|at| self.lazy.get(at));
        inside.is_some_and(|(_, lazy_end)| end <= *lazy_end)
            && !self
                .eager
                .iter()
                .any(|(from, to)| *from < end && page < *to)
    }
}

fn can_be_lazy(vma: &VmaEntry) -> bool {
    vma.flags & MAP_PRIVATE != 0
        && vma.flags & (MAP_LOCKED | MAP_HUGETLB) == 0
        && vma.status & SPECIAL == 0
}

/// Mappings that a pager can fill after the process runs again (`userfaultfd(2)`), half-open, in order: private anonymous memory
/// with nothing special about it. They are served whole, but for what is [needed].
pub fn served(mm: &MmEntry) -> Vec<(u64, u64)> {
    let guards: Vec<&VmaEntry> = mm
        .vmas
        .iter()
        .filter(|vma| vma.status & GUARD != 0)
        .collect();
    let is_guarded = |vma: &VmaEntry| {
        let mut within = guards.iter();
        within.any(|guard| guard.start < vma.end && vma.start < guard.end)
    };
    let plain = mm.vmas.iter().filter(|vma| {
        can_be_lazy(vma)
            && vma.status & ANON_PRIVATE != 0
            && vma.status & GUARD == 0
            && vma.flags & (MAP_GROWSDOWN | MAP_DROPPABLE) == 0
            && vma.madv.unwrap_or(0) & UNLIKE_IN_CHILDREN == 0
            && !is_guarded(vma)
    });
    plain.map(|vma| (vma.start, vma.end)).collect()
}

/// Pages of a process that a restore needs at once, half-open, in order, without overlap.
pub fn needed<'a>(
    mm: &MmEntry,
    threads: impl IntoIterator<Item = &'a CoreEntry>,
) -> Vec<(u64, u64)> {
    let below = |address: u64| address - address % X86_64_PAGE_BYTES;
    let mut ranges: Vec<(u64, u64)> = LazyPlan::new(mm, threads)
        .eager
        .into_iter()
        .filter(|(start, end)| start < end)
        .map(|(start, end)| {
            (
                below(start),
                below(end.saturating_add(X86_64_PAGE_BYTES - 1)),
            )
        })
        .collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// What a thread stands on and points to, and what the kernel writes when it ends.
fn needed_by(thread: &CoreEntry) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    if let Some(info) = &thread.thread_info {
        let registers = &info.gpregs;
        ranges.push((
            registers.sp.saturating_sub(BELOW_STACK_POINTER),
            registers.sp.saturating_add(ABOVE_STACK_POINTER),
        ));
        ranges.push((
            registers.fs_base.saturating_sub(AROUND_THREAD_POINTER),
            registers.fs_base.saturating_add(AROUND_THREAD_POINTER),
        ));
        ranges.push(word(registers.ip));
        ranges.push(word(info.clear_tid_addr));
    }
    if let Some(own) = &thread.thread_core {
        ranges.push(word(own.futex_rla));
        if let Some(rseq) = &own.rseq_entry {
            let length = u64::from(rseq.rseq_abi_size);
            ranges.push((
                rseq.rseq_abi_pointer,
                rseq.rseq_abi_pointer.saturating_add(length.max(8)),
            ));
        }
    }
    ranges
}

fn word(address: u64) -> (u64, u64) {
    (address, address.saturating_add(8))
}
