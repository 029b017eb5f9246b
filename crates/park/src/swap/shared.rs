//! Shared memory that several processes of a tree map.
//!
//! `MADV_PAGEOUT` leaves a page alone that more than one process maps. So each process in turn pages out what it alone
//! maps by then, and gives up its mappings of the rest (`MADV_DONTNEED`, which for shared memory loses nothing: the
//! page stays in the object); the last one pages out what remains.
//!
//! Such a page is then in no process's resident memory, wherever it is. What the kernel kept all the same, because
//! somebody outside of the tree maps it, is told from what `smaps` says of swap.

use crate::ParkError;
use plimsoll_proc::Root;
use plimsoll_proc::process::maps::{Device, Perms};
use plimsoll_proc::process::smaps::{self, Smap};
use plimsoll_surgery::holds::{LookError, Mapping, MappingKind as Kind};
use plimsoll_sys::Span;
use plimsoll_units::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A part of an object: device, inode, offset, length.
type Piece = (Device, u64, u64, u64);

/// One process's mapping of a piece.
#[derive(Debug, Clone, Copy)]
struct View {
    pid: u32,
    span: Span,
    resident: Bytes,
    swapped: Bytes,
}

/// The mappings of shared memory in a tree.
#[derive(Debug, Default)]
pub(super) struct Shared {
    views: BTreeMap<Piece, Vec<View>>,
}

impl Shared {
    /// Looks at these processes.
    pub(super) fn look(
        root: &Root,
        pids: impl IntoIterator<Item = u32>,
    ) -> Result<Self, ParkError> {
        let mut shared = Self::default();
        for pid in pids {
            let dir = root.open_dir(format!("proc/{pid}"))?;
            let visit = |smap: &Smap<'_>| shared.add(pid, smap);
            smaps::stream_file(&dir, &mut Vec::new(), visit)
                .map_err(|source| LookError::Mappings { pid, source })?;
        }
        Ok(shared)
    }

    fn add(&mut self, pid: u32, smap: &Smap<'_>) {
        let kind = Mapping::of(smap).kind;
        let line = &smap.mapping;
        if !matches!(kind, Kind::SharedMemory | Kind::FileShared)
            || !line.perms.contains(Perms::SHARED)
        {
            return;
        }
        let span = Span {
            start: line.start,
            end: line.end,
        };
        let piece = (line.device, line.inode, line.offset, span.len());
        self.views.entry(piece).or_default().push(View {
            pid,
            span,
            resident: smap.usage.rss,
            swapped: smap.usage.swap,
        });
    }

    /// What a process maps of objects that others of the tree map, too.
    pub(super) fn of_several(&self, pid: u32) -> Vec<Span> {
        let mut mappers: BTreeMap<(Device, u64), BTreeSet<u32>> = BTreeMap::new();
        for ((device, inode, ..), views) in &self.views {
            let pids = views.iter().map(|view| view.pid);
            mappers.entry((*device, *inode)).or_default().extend(pids);
        }
        let several = |(device, inode, ..): &Piece| {
            let pids = mappers.get(&(*device, *inode));
            pids.is_some_and(|pids| pids.len() > 1)
        };
        let views = self.views.iter().filter(|(piece, _)| several(piece));
        let own = views
            .flat_map(|(_, views)| views)
            .filter(|view| view.pid == pid);
        own.map(|view| view.span).collect()
    }

    /// Bytes of these objects that are in swap.
    pub(super) fn swapped(&self) -> Bytes {
        let most = |views: &Vec<View>| views.iter().map(|view| view.swapped).max();
        self.views.values().filter_map(most).sum()
    }

    /// Bytes that are mapped no more and that the kernel kept in memory, now that things are as in `after`.
    pub(super) fn kept(&self, after: &Self) -> Bytes {
        let kept = self.views.iter().map(|(piece, before)| {
            let most = |views: &[View], what: fn(&View) -> Bytes| {
                views.iter().map(what).max().unwrap_or_default()
            };
            let now = after.views.get(piece).map(Vec::as_slice);
            let now = now.unwrap_or_default();
            let was = most(before, |view| view.resident);
            let left = most(before, |view| view.swapped) + was;
            left - most(now, |view| view.swapped) - most(now, |view| view.resident)
        });
        kept.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(views: &[(u32, u64, u64, u64)]) -> Shared {
        let mut shared = Shared::default();
        for (pid, inode, resident, swapped) in views {
            let record = format!(
                "7f0000000000-7f0000100000 rw-s 00000000 00:01 {inode} /dev/zero (deleted)\n\
                 Rss: {resident} kB\nSwap: {swapped} kB\nVmFlags: rd wr sh mr mw me ms\n"
            );
            shared.add(*pid, &Smap::parse(record.as_bytes()).unwrap());
        }
        shared
    }

    #[test]
    fn what_several_map_and_what_the_kernel_kept() {
        let before = shared(&[(1, 5, 900, 0), (2, 5, 400, 0), (2, 6, 100, 50)]);
        assert_eq!(before.of_several(1).len(), 1);
        assert_eq!(before.of_several(2).len(), 1, "the other object is its own");
        let out = shared(&[(1, 5, 0, 900), (2, 5, 0, 900), (2, 6, 0, 150)]);
        assert_eq!(before.kept(&out), Bytes::ZERO);
        let stuck = shared(&[(1, 5, 0, 700), (2, 5, 0, 700), (2, 6, 100, 50)]);
        assert_eq!(
            before.kept(&stuck),
            Bytes::from_kib(200),
            "what is still mapped is counted there"
        );
    }
}
