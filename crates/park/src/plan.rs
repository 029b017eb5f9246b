//! What of a process can go to a store, and what stays, with the reason: a reader and a decider.
//!
//! Only private anonymous memory can be dropped and armed (`userfaultfd(2)`, registering for missing pages), and
//! of that only what no one else relies on being there: the kernel writes to a thread's rseq area and robust list,
//! `ps` reads arguments and environment from the stack. A mapping with a flag that is not known here stays.

use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::smaps::{Smap, StreamError, stream_file};
use plimsoll_proc::process::vm_flags::{VmFlag, VmFlags};
use plimsoll_proc::{ReadError, Root};
use plimsoll_sys::Span;
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why memory stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// Pages of a file, or private copies of some.
    File,
    /// Memory that other processes may map too.
    SharedMemory,
    /// Pages still shared with a relative since `fork(2)`.
    SharedByFork,
    /// The kernel-made stack, with arguments and environment.
    Stack,
    /// What threads and the kernel touch at every turn: tops of stacks, rseq, robust lists.
    ThreadState,
    /// `mlock(2)`: somebody asked for it to stay.
    Locked,
    /// Hugetlb pages: dropped ones go back to their pool, not to the host.
    Hugetlb,
    /// Of a device or the kernel.
    Special,
    /// Handled by a userfaultfd of the process's own.
    Userfaultfd,
    /// Mapped so that it can't be filled, sealed, wiped on fork, with guard pages, or with a flag not known here.
    Unusual,
}

/// The mappings of a process, sorted.
#[derive(Debug, Default)]
pub struct Plan {
    /// Mappings whose exclusive pages can go, in order. They are armed whole: arming a part would cut a mapping in two,
    /// and the process could not `mremap(2)` it as one.
    pub movable: Vec<Span>,
    /// Pages of them that stay, in order, without overlap.
    pub kept: Vec<Span>,
    /// Mappings that are armed already.
    pub armed: Vec<Span>,
    /// It has asynchronous I/O (`io_setup(2)`): what is in flight is pinned, and nothing tells how much.
    pub aio: bool,
    /// Resident bytes that stay.
    pub left: BTreeMap<Stays, Bytes>,
}

/// A process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file of `/proc` can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// `smaps` breaks off or makes no sense.
    #[error("cannot read the mappings of process {pid}")]
    Mappings {
        /// Which.
        pid: u32,
        /// Why.
        source: StreamError,
    },
}

impl Plan {
    /// Reads a process's mappings.
    ///
    /// # Errors
    /// When `smaps` can't be read.
    pub fn read(root: &Root, pid: u32) -> Result<Self, PlanError> {
        let dir = root.open_dir(format!("proc/{pid}"))?;
        let mut plan = Self::default();
        stream_file(&dir, &mut Vec::new(), |smap| plan.sort(smap))
            .map_err(|source| PlanError::Mappings { pid, source })?;
        Ok(plan)
    }

    fn sort(&mut self, smap: &Smap<'_>) {
        let span = Span {
            start: smap.mapping.start,
            end: smap.mapping.end,
        };
        if smap
            .flags
            .is_some_and(|flags| flags.has(VmFlag::UFFD_MISSING))
        {
            self.armed.push(span);
        }
        self.aio |= smap.mapping.raw_name.starts_with(b"/[aio]");
        match why_stays(smap) {
            None => self.movable.push(span),
            Some(why) => *self.left.entry(why).or_default() += smap.usage.rss,
        }
    }

    /// Keeps the pages around these addresses: a thread's stack pointer and its thread pointer.
    pub fn keep(&mut self, addresses: impl IntoIterator<Item = u64>, page_size: u64) {
        let mut wanted: Vec<Span> = addresses
            .into_iter()
            .map(|address| {
                let page = address - address % page_size;
                Span {
                    start: page.saturating_sub(page_size),
                    end: page.saturating_add(page_size.saturating_mul(2)),
                }
            })
            .collect();
        wanted.sort_unstable();
        for span in wanted {
            match self.kept.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => self.kept.push(span),
            }
        }
        let both = self.kept.iter().flat_map(|kept| {
            let movable = self.movable.iter();
            movable.filter_map(|span| span.intersection(*kept))
        });
        let bytes = both.map(Span::len).sum();
        *self.left.entry(Stays::ThreadState).or_default() += Bytes(bytes);
    }

    /// The parts of `span` that are not kept.
    pub fn without_kept(&self, span: Span) -> impl Iterator<Item = Span> + use<'_> {
        let after = self.kept.partition_point(|kept| kept.end <= span.start);
        let mut ahead = self.kept.iter().skip(after).copied();
        let mut at = span.start;
        std::iter::from_fn(move || {
            while at < span.end {
                let hole = ahead.next().filter(|kept| kept.start < span.end);
                let part = Span {
                    start: at,
                    end: hole.map_or(span.end, |kept| kept.start),
                };
                at = hole.map_or(span.end, |kept| kept.end);
                if !part.is_empty() {
                    return Some(part);
                }
            }
            None
        })
    }
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

/// What a flag means for parking, the first that fits.
const REASONS: [(VmFlag, Stays); 7] = [
    (VmFlag::HUGETLB, Stays::Hugetlb),
    (
        VmFlag::PFNMAP.union(VmFlag::IO).union(VmFlag::MIXEDMAP),
        Stays::Special,
    ),
    (VmFlag::LOCKED.union(VmFlag::LOCKONFAULT), Stays::Locked),
    (
        VmFlag::UFFD_MISSING
            .union(VmFlag::UFFD_WP)
            .union(VmFlag::UFFD_MINOR),
        Stays::Userfaultfd,
    ),
    (VmFlag::SHARED.union(VmFlag::MAY_SHARE), Stays::SharedMemory),
    (VmFlag::GROWSDOWN, Stays::Stack),
    (VmFlag::all().difference(PLAIN), Stays::Unusual),
];

fn why_stays(smap: &Smap<'_>) -> Option<Stays> {
    match smap.mapping.name() {
        MapName::Anonymous | MapName::Heap | MapName::AnonNamed(_) if smap.mapping.inode == 0 => {}
        MapName::Stack => return Some(Stays::Stack),
        MapName::File { .. } => return Some(Stays::File),
        MapName::SysV { .. } | MapName::Memfd(_) | MapName::SharedAnonymous => {
            return Some(Stays::SharedMemory);
        }
        MapName::AnonHugetlb => return Some(Stays::Hugetlb),
        _ => return Some(Stays::Special),
    }
    match smap.flags {
        None
        | Some(VmFlags {
            unknown: Some(_), ..
        }) => Some(Stays::Unusual),
        // Registering asks for the right to write, whether or not it is writable now.
        Some(flags) if !flags.has(VmFlag::MAY_WRITE) => Some(Stays::Unusual),
        Some(flags) => REASONS
            .iter()
            .find(|(reason, _)| flags.known.intersects(*reason))
            .map(|(_, why)| *why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smap(line: &str, flags: &str) -> Option<Stays> {
        let record = format!("{line}\nRss: 8 kB\nVmFlags: {flags}\n");
        why_stays(&Smap::parse(record.as_bytes()).unwrap())
    }

    #[test]
    fn only_plain_memory_goes() {
        let anon = "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ";
        let plain = "rd wr mr mw me ac";
        assert_eq!(smap(anon, plain), None);
        assert_eq!(smap(anon, "mr mw me nr"), None, "a reserved arena");
        let with = |flag: &str| smap(anon, &format!("{plain} {flag}"));
        assert_eq!(with("lo"), Some(Stays::Locked));
        assert_eq!(with("um"), Some(Stays::Userfaultfd));
        assert_eq!(
            with("wf"),
            Some(Stays::Unusual),
            "zeros in the child, whatever was parked"
        );
        assert_eq!(with("zz"), Some(Stays::Unusual), "a flag of a later kernel");
        assert_eq!(
            smap(anon, "rd mr me"),
            Some(Stays::Unusual),
            "no right to write"
        );
        let file = "7f0000000000-7f0000100000 rw-p 00001000 08:01 77 /usr/lib/libc.so.6";
        assert_eq!(smap(file, plain), Some(Stays::File));
        let stack = "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]";
        assert_eq!(smap(stack, "rd wr mr mw me gd ac"), Some(Stays::Stack));
    }

    #[test]
    fn what_threads_stand_on_stays() {
        let mut plan = Plan {
            movable: vec![Span::new(0x10000, 0x10000)],
            ..Plan::default()
        };
        plan.keep([0x1f000, 0x15123, 0x16000, 0x90000], 0x1000);
        assert_eq!(plan.left[&Stays::ThreadState], Bytes(0x6000));
        let go: Vec<Span> = plan.without_kept(plan.movable[0]).collect();
        assert_eq!(go, [Span::new(0x10000, 0x4000), Span::new(0x18000, 0x6000)]);
        let go: Vec<Span> = plan.without_kept(Span::new(0x14000, 0x2000)).collect();
        assert_eq!(go, []);
    }
}
