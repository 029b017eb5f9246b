//! Mappings, classified by what their memory is and counted by what their pages are.

use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::smaps::Smap;
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Pagemap};
use plimsoll_units::Bytes;
use rustix::io::Errno;

/// What the memory of a mapping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Private and anonymous: the process's own.
    Anonymous,
    /// The kernel-made stack, with arguments and environment at its top.
    Stack,
    /// A file, privately: its pages, and anonymous copies of those that were written.
    FilePrivate,
    /// A file, shared: its page cache.
    FileShared,
    /// Shared memory without a name in the file system: `MAP_SHARED | MAP_ANONYMOUS`, memfd, System V.
    SharedMemory,
    /// hugetlb pages, private or shared.
    Hugetlb,
    /// `memfd_secret(2)`: nobody else can read it.
    Secret,
    /// Of a device.
    Device,
    /// Of a descriptor that shares memory with the kernel: the rings of io_uring, perf, packets.
    Ring,
    /// The ring of `io_setup(2)`: asynchronous I/O may be in flight.
    Aio,
    /// The kernel's own: vdso, vvar, vsyscall, uprobes.
    Kernel,
    /// A shadow stack.
    ShadowStack,
}

/// What is to be minded about a mapping besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Traits {
    /// `mlock(2)`: somebody asked for its pages to stay in RAM.
    pub locked: bool,
    /// Holds guard pages (Linux 6.15).
    pub guarded: bool,
    /// Sealed (`mseal(2)`).
    pub sealed: bool,
    /// Armed by a userfaultfd.
    pub armed: bool,
    /// May never be written, so that it can't be armed.
    pub read_only: bool,
    /// Has a flag that plain memory does not have, or one that is not known here.
    pub unusual: bool,
}

/// Populated bytes of a mapping, by what their pages are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pages {
    /// In RAM, this process's alone.
    pub exclusive: Bytes,
    /// In RAM, shared by `fork(2)` (before Linux 6.7: the zero page, too).
    pub shared_by_fork: Bytes,
    /// The zero page.
    pub zero: Bytes,
    /// In RAM, of a file or of shared memory.
    pub file: Bytes,
    /// In swap.
    pub swapped: Bytes,
}

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where.
    pub span: Span,
    /// What.
    pub kind: Kind,
    /// What else.
    pub traits: Traits,
    /// In RAM, of all kinds.
    pub resident: Bytes,
    /// The same, pages that several processes map in equal parts.
    pub proportional: Bytes,
    /// The anonymous part of it, copies of a file's pages included.
    pub anonymous: Bytes,
    /// Its pages, once they have been counted ([`Holds::look`](super::Holds::look) does).
    pub pages: Pages,
}

/// Flags that mappings of plain memory may have.
const PLAIN: VmFlag = VmFlag::READ
    .union(VmFlag::WRITE)
    .union(VmFlag::EXEC)
    .union(VmFlag::MAY_READ)
    .union(VmFlag::MAY_WRITE)
    .union(VmFlag::MAY_EXEC)
    .union(VmFlag::SEQ_READ)
    .union(VmFlag::RAND_READ)
    .union(VmFlag::DONTCOPY)
    .union(VmFlag::ACCOUNT)
    .union(VmFlag::NORESERVE)
    .union(VmFlag::DONTDUMP)
    .union(VmFlag::SOFTDIRTY)
    .union(VmFlag::HUGEPAGE)
    .union(VmFlag::NOHUGEPAGE)
    .union(VmFlag::MERGEABLE);

impl Mapping {
    /// Classifies one; its pages are not counted.
    #[must_use]
    pub fn of(smap: &Smap<'_>) -> Self {
        let flags = smap.flags.unwrap_or_default();
        let has = |flag| flags.known.intersects(flag);
        let armed = VmFlag::UFFD_MISSING | VmFlag::UFFD_WP | VmFlag::UFFD_MINOR;
        let locked = VmFlag::LOCKED | VmFlag::LOCKONFAULT;
        let told = armed | locked; // by traits of their own
        Self {
            span: Span {
                start: smap.mapping.start,
                end: smap.mapping.end,
            },
            kind: kind(smap),
            traits: Traits {
                locked: has(locked),
                guarded: has(VmFlag::GUARD),
                sealed: has(VmFlag::SEALED),
                armed: has(armed),
                read_only: !has(VmFlag::MAY_WRITE),
                unusual: smap.flags.is_none()
                    || flags.unknown.is_some()
                    || has(VmFlag::all().difference(PLAIN | told)),
            },
            resident: smap.usage.rss,
            proportional: smap.usage.pss,
            anonymous: smap.usage.anonymous,
            pages: Pages::default(),
        }
    }

    /// Counts its pages. `[vsyscall]` lies beyond all page tables.
    pub(super) fn count(&mut self, pagemap: &Pagemap) -> Result<(), Errno> {
        if self.kind == Kind::Kernel {
            return Ok(());
        }
        let pages = &mut self.pages;
        pagemap.runs(self.span, |run| {
            let sum = match run.page {
                Page::Exclusive => &mut pages.exclusive,
                Page::Shared => &mut pages.shared_by_fork,
                Page::Zero => &mut pages.zero,
                Page::File => &mut pages.file,
                Page::Swapped => &mut pages.swapped,
            };
            *sum += Bytes(run.span.len());
        })
    }
}

/// Flags before names: a name can be anybody's, flags are the kernel's.
fn kind(smap: &Smap<'_>) -> Kind {
    let flags = smap.flags.unwrap_or_default().known;
    let name = smap.mapping.name();
    let kernel = matches!(
        name,
        MapName::Vdso | MapName::Vvar | MapName::Vsyscall | MapName::Special(_)
    );
    let device = VmFlag::IO.union(VmFlag::PFNMAP).union(VmFlag::MIXEDMAP);
    let by_flag = [
        (kernel && smap.mapping.inode == 0, Kind::Kernel),
        (flags.intersects(VmFlag::HUGETLB), Kind::Hugetlb),
        (flags.intersects(VmFlag::SHADOW_STACK), Kind::ShadowStack),
        (matches!(name, MapName::SecretMem), Kind::Secret),
        (flags.intersects(device), Kind::Device),
        (matches!(name, MapName::Descriptor(_)), Kind::Ring),
        (is_aio(&name), Kind::Aio),
    ];
    if let Some((_, kind)) = by_flag.iter().find(|(is, _)| *is) {
        return *kind;
    }
    match name {
        MapName::Stack => Kind::Stack,
        MapName::Anonymous | MapName::Heap | MapName::AnonNamed(_) => Kind::Anonymous,
        MapName::File { .. } if smap.mapping.is_shared() => Kind::FileShared,
        // A memfd or SysV segment mapped privately is a file mapped privately.
        _ if !smap.mapping.is_shared() => Kind::FilePrivate,
        _ => Kind::SharedMemory,
    }
}

/// `/[aio] (deleted)`, `fs/aio.c`.
fn is_aio(name: &MapName<'_>) -> bool {
    matches!(
        name,
        MapName::File {
            path: b"/[aio]",
            deleted: true
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(line: &str, flags: &str) -> Mapping {
        let record = format!("{line}\nRss: 8 kB\nVmFlags: {flags}\n");
        Mapping::of(&Smap::parse(record.as_bytes()).unwrap())
    }

    #[test]
    fn every_kind_is_told() {
        let at = "7f0000000000-7f0000100000";
        for (rest, flags, kind) in [
            (
                "rw-p 00000000 00:00 0 ",
                "rd wr mr mw me ac",
                Kind::Anonymous,
            ),
            (
                "rw-p 00000000 00:00 0 [heap]",
                "rd wr mr mw me ac",
                Kind::Anonymous,
            ),
            (
                "rw-p 00000000 00:00 0 [stack]",
                "rd wr mr mw me gd ac",
                Kind::Stack,
            ),
            (
                "rw-p 00000000 08:01 7 /lib/libc.so",
                "rd wr mr mw me ac",
                Kind::FilePrivate,
            ),
            (
                "r--s 00000000 08:01 7 /var/db",
                "rd sh mr me ms",
                Kind::FileShared,
            ),
            (
                "rw-s 00000000 00:01 7 /memfd:x (deleted)",
                "rd wr sh mr mw me ms",
                Kind::SharedMemory,
            ),
            (
                "rw-p 00000000 00:01 7 /memfd:x (deleted)",
                "rd wr mr mw me",
                Kind::FilePrivate,
            ),
            (
                "rw-s 00000000 00:0e 7 /secretmem (deleted)",
                "rd wr sh mr mw me ms lo",
                Kind::Secret,
            ),
            (
                "rw-p 00000000 00:0f 7 /anon_hugepage (deleted)",
                "rd wr mr mw me ht",
                Kind::Hugetlb,
            ),
            (
                "rw-s 00000000 00:05 7 /dev/nvidia0",
                "rd wr sh mr mw me ms pf io",
                Kind::Device,
            ),
            (
                "rw-s 00000000 00:0e 7 anon_inode:[io_uring]",
                "rd wr sh mr mw me ms",
                Kind::Ring,
            ),
            (
                "rw-s 00000000 00:0d 7 /[aio] (deleted)",
                "rd wr sh mr mw me ms de",
                Kind::Aio,
            ),
            (
                "r-xp 00000000 00:00 0 [vdso]",
                "rd ex mr mw me de",
                Kind::Kernel,
            ),
            (
                "rw-p 00000000 00:00 0 ",
                "rd wr mr mw me ss",
                Kind::ShadowStack,
            ),
        ] {
            assert_eq!(mapping(&format!("{at} {rest}"), flags).kind, kind, "{rest}");
        }
        let armed = mapping(
            &format!("{at} rw-p 00000000 00:00 0 "),
            "rd wr mr mw me um lo zz",
        );
        let traits = armed.traits;
        assert!(traits.armed && traits.locked && traits.unusual && !traits.read_only);
        let plain = mapping(
            &format!("{at} rw-p 00000000 00:00 0 "),
            "rd wr mr mw me ac lo um",
        );
        assert!(!plain.traits.unusual);
    }
}
