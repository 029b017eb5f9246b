//! What the images say about a mapping, in numbers: `vma_entry.status` and the bits of `vma_entry.madv`.

use plimsoll_image::proto::VmaEntry;
use plimsoll_proc::process::vm_flags::VmFlag;

bitflags::bitflags! {
    /// `vma_entry.status`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Status: u32 {
        const REGULAR = 1;
        const STACK = 1 << 1;
        const VSYSCALL = 1 << 2;
        const VDSO = 1 << 3;
        const HEAP = 1 << 5;
        const FILE_PRIVATE = 1 << 6;
        const FILE_SHARED = 1 << 7;
        const ANON_SHARED = 1 << 8;
        const ANON_PRIVATE = 1 << 9;
        const SYSVIPC = 1 << 10;
        const SOCKET = 1 << 11;
        const VVAR = 1 << 12;
        const AIORING = 1 << 13;
        const MEMFD = 1 << 14;
        const SHADOW_STACK = 1 << 15;
        const GUARD = 1 << 16;
        const UPROBES = 1 << 17;
    }
}

/// What the images say of a mapping.
pub(crate) fn status(vma: &VmaEntry) -> Status {
    Status::from_bits_retain(vma.status)
}

/// Whether the pages of a mapping are the process's own and are stored. Those of a ring of `io_setup(2)` are the kernel's, too.
pub(crate) fn has_pages(vma: &VmaEntry) -> bool {
    let status = status(vma);
    let private = Status::ANON_PRIVATE | Status::FILE_PRIVATE;
    let none = Status::VSYSCALL | Status::VVAR | Status::GUARD | Status::UPROBES;
    let private = status.intersects(private) && !status.intersects(none);
    (private || status.contains(Status::AIORING)) && vma.flags & DROPPABLE == 0
}

/// `MAP_DROPPABLE` (Linux 6.11), a kind of mapping beside `MAP_SHARED` and `MAP_PRIVATE`: the kernel may forget it at any
/// time, so it is not stored.
pub(crate) const DROPPABLE: u32 = 8;

/// Flags of a mapping that `madvise(2)` sets: bit N of `vma_entry.madv` is advice N.
pub(crate) const ADVICE: [(VmFlag, i32); 8] = [
    (VmFlag::RAND_READ, libc::MADV_RANDOM),
    (VmFlag::SEQ_READ, libc::MADV_SEQUENTIAL),
    (VmFlag::DONTCOPY, libc::MADV_DONTFORK),
    (VmFlag::MERGEABLE, libc::MADV_MERGEABLE),
    (VmFlag::HUGEPAGE, libc::MADV_HUGEPAGE),
    (VmFlag::NOHUGEPAGE, libc::MADV_NOHUGEPAGE),
    (VmFlag::DONTDUMP, libc::MADV_DONTDUMP),
    (VmFlag::WIPEONFORK, libc::MADV_WIPEONFORK),
];

/// Advice that changes what a child is born with: given once all children are there.
pub(crate) fn unseen_by_children() -> u64 {
    1 << libc::MADV_DONTFORK | 1 << libc::MADV_WIPEONFORK
}
