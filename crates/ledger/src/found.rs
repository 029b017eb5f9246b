//! What was found by looking, as owners: which raw pages pipes, sockets and rings hold, and which parts of
//! shared memory have names.
//!
//! The only figure that needs thought is what sockets hold beyond the slab: see `found/sockets.rs`. Rings that
//! the kernel could only get as vmalloc areas are in its count of those already.

mod skb_slab;
mod sockets;

use crate::host::{Discovered, Outside, Secretmem};
use crate::look::{Detail, Exactness, Unseen};
use plimsoll_proc::found::{Found, MemoryFile, MemoryFileKind};
use plimsoll_proc::host::HostSample;
use plimsoll_proc::sysvipc_shm::Segment;
use plimsoll_proc::vmallocinfo::Vmallocinfo;
use plimsoll_units::{Bytes, PageSize};

/// Who asks for the blocks of a packet ring, as `/proc/vmallocinfo` calls them where physically contiguous
/// memory ran short (`alloc_pg_vec` in `net/packet/af_packet.c`, under the names that inlining leaves).
const RING_MAKERS: [&[u8]; 3] = [
    b"alloc_one_pg_vec_page",
    b"alloc_pg_vec",
    b"packet_set_ring",
];

/// What the account of the host takes from what was found at about the time of `sample`.
#[must_use]
pub fn discovered(found: &Found, sample: &HostSample<'_>) -> Discovered {
    let outside = [
        pipe_buffers(found),
        sockets::buffers(found, sample),
        packet_rings(found, sample.slow.vmallocinfo.as_ref(), sample.page),
    ];
    Discovered {
        outside: outside.into_iter().flatten().collect(),
        shmem: shmem(found),
        secretmem: secretmem(found),
    }
}

/// What could not be found, as the document tells it.
#[must_use]
pub fn unseen(found: &Found, sample: &HostSample<'_>) -> Vec<Unseen> {
    let unseen = found.unseen.iter().map(|unseen| Unseen {
        what: unseen.what.clone(),
        why: unseen.why.clone(),
    });
    unseen.chain(sockets::unseen(found, sample)).collect()
}

/// An owner in no counter, worked out from what its holders say; `None` where they hold nothing.
fn outside(id: &'static str, detail: Vec<Detail>) -> Option<Outside> {
    let bytes: Bytes = detail.iter().map(|detail| detail.bytes).sum();
    (bytes > Bytes::ZERO).then_some(Outside {
        id,
        bytes,
        exactness: Exactness::Inferred,
        detail,
    })
}

fn pipe_buffers(found: &Found) -> Option<Outside> {
    let pipes = &found.pipes;
    let name = format!("{} pipes", pipes.count);
    outside("pipe_buffers", named([(name, pipes.page_bytes)]))
}

fn packet_rings(found: &Found, vmalloc: Option<&Vmallocinfo>, page: PageSize) -> Option<Outside> {
    let mut counted_as_vmalloc: Bytes = vmalloc.map_or(Bytes::ZERO, |areas| {
        let of_rings = |caller: &[u8]| RING_MAKERS.contains(&caller);
        let areas = areas.callers.iter().filter(|(caller, _)| of_rings(caller));
        areas.map(|(_, pages)| pages.bytes(page)).sum()
    });
    let rings = found.packet_rings.iter().map(|ring| {
        let raw = ring.bytes() - counted_as_vmalloc;
        counted_as_vmalloc = counted_as_vmalloc - ring.bytes();
        (format!("ring of socket {}", ring.inode), raw)
    });
    outside("packet_rings", named(rings))
}

fn secretmem(found: &Found) -> Option<Secretmem> {
    let held = found.secretmem.iter();
    let detail = named(held.map(|area| (holder(area.pid, &area.command), area.bytes)));
    (!detail.is_empty()).then(|| Secretmem {
        bytes: detail.iter().map(|detail| detail.bytes).sum(),
        detail,
    })
}

/// The parts of shared memory that have names, biggest first.
fn shmem(found: &Found) -> Vec<Detail> {
    let mounts = found.tmpfs.iter().map(|tmpfs| {
        let deleted = found.memory_files.iter();
        let deleted: Bytes = (deleted.filter(|file| file.device == tmpfs.device))
            .map(|file| file.bytes)
            .sum();
        (
            format!("tmpfs {}", tmpfs.mount_point),
            tmpfs.used_bytes - deleted,
        )
    });
    let files = found
        .memory_files
        .iter()
        .map(|file| (file_name(file), file.bytes));
    let segments = found.segments.iter().map(|segment| {
        let resident = segment.rss_bytes.unwrap_or(segment.size_bytes);
        (segment_name(segment), resident)
    });
    let mut parts = named(mounts.chain(files).chain(segments));
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    parts
}

fn file_name(file: &MemoryFile) -> String {
    let kind = match file.kind {
        MemoryFileKind::Memfd => "memfd",
        MemoryFileKind::Deleted => "deleted",
    };
    let holder = holder(file.pid, &file.command);
    format!("{kind} {}, kept by {holder}", file.name)
}

fn segment_name(segment: &Segment) -> String {
    let Segment {
        shmid,
        cpid,
        nattch,
        ..
    } = segment;
    match nattch {
        0 => format!("SysV segment {shmid}, nobody attached, made by pid {cpid}"),
        n => format!("SysV segment {shmid}, {n} attached"),
    }
}

fn holder(pid: u32, command: &str) -> String {
    match command {
        "" => format!("pid {pid}"),
        name => format!("{name} (pid {pid})"),
    }
}

/// Parts that hold something.
fn named(parts: impl IntoIterator<Item = (String, Bytes)>) -> Vec<Detail> {
    let parts = parts
        .into_iter()
        .map(|(name, bytes)| Detail { name, bytes });
    parts.filter(|part| part.bytes > Bytes::ZERO).collect()
}
