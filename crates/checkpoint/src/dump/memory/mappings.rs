//! The mappings of a process, as the images have them, from `/proc/PID/smaps` (`proc_pid_smaps(5)`): kind, protection, advice,
//! and the file or object behind them.

use super::super::files::Files;
use crate::error::Error;
use crate::vma::{ADVICE, DROPPABLE, Status, status};
use plimsoll_image::proto::{AioRingEntry, VmaEntry};
use plimsoll_proc::Root;
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::maps::Perms;
use plimsoll_proc::process::smaps::{self, Smap};
use plimsoll_proc::process::vm_flags::VmFlag;
use plimsoll_sys::Span;

/// A mapping on its way.
pub(super) struct Mapped {
    pub(super) vma: VmaEntry,
    /// It holds guard pages.
    pub(super) guarded: bool,
}

impl Mapped {
    pub(super) fn guard(span: Span) -> Self {
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

/// All mappings of a process, as the images have them.
pub(super) fn of(root: &Root, pid: u32, files: &mut Files) -> Result<Vec<Mapped>, Error> {
    let directory = root.open_dir(format!("proc/{pid}"))?;
    let mut all = Vec::new();
    let mut failed = None;
    let visit = |smap: &Smap<'_>| match mapped(root, pid, smap, files) {
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

fn mapped(root: &Root, pid: u32, smap: &Smap<'_>, files: &mut Files) -> Result<Mapped, Error> {
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
        MapName::Descriptor(_) => {
            vma.status = (Status::REGULAR | Status::SOCKET).bits();
            vma.shmid = files.mapped_socket(root, pid, mapping)?.into();
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
pub(super) fn aio_ring(vma: &VmaEntry) -> Option<AioRingEntry> {
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
