//! What of a process can go to a store, and what stays, with the reason: decided from the map of what it holds
//! ([`holds`]).
//!
//! Only private anonymous memory can be dropped and armed (`userfaultfd(2)`, registering for missing pages), and
//! of that only what no one else relies on being there: the kernel writes to a thread's rseq area and robust list,
//! `ps` reads arguments and environment from the stack. A mapping with a flag that is not known here stays.

use plimsoll_proc::Root;
use plimsoll_surgery::holds::{self, LookError, Mapping, MappingKind as Kind};
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
    /// The kernel was asked to swap it, and kept it.
    Unreclaimed,
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
    /// Where they had huge pages, as found on the way out.
    pub huge: Vec<Span>,
    /// Mappings that are armed already.
    pub armed: Vec<Span>,
    /// Resident bytes that stay.
    pub left: BTreeMap<Stays, Bytes>,
}

impl Plan {
    /// Reads a process's mappings, and decides.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn read(root: &Root, pid: u32) -> Result<Self, LookError> {
        Ok(Self::of(&holds::mappings(root, pid)?))
    }

    /// The mappings of a process that are armed; none of one that has ended, or is about to and has no memory any more.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn armed_now(root: &Root, pid: u32) -> Result<Vec<Span>, LookError> {
        match Self::read(root, pid) {
            Err(error) if error.is_gone() => Ok(Vec::new()),
            plan => Ok(plan?.armed),
        }
    }

    /// Decides for each mapping.
    #[must_use]
    pub fn of(mappings: &[Mapping]) -> Self {
        let mut plan = Self::default();
        for mapping in mappings {
            if mapping.traits.armed {
                plan.armed.push(mapping.span);
            }
            match why_stays(mapping) {
                None => plan.movable.push(mapping.span),
                Some(why) => *plan.left.entry(why).or_default() += mapping.resident,
            }
        }
        plan
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

/// Why a mapping can't go; `None` where it can.
#[must_use]
pub fn why_stays(mapping: &Mapping) -> Option<Stays> {
    let traits = mapping.traits;
    let by_kind = match mapping.kind {
        Kind::Anonymous => None,
        Kind::Stack => Some(Stays::Stack),
        Kind::FilePrivate | Kind::FileShared => Some(Stays::File),
        Kind::SharedMemory => Some(Stays::SharedMemory),
        Kind::Hugetlb => Some(Stays::Hugetlb),
        Kind::Secret | Kind::Device | Kind::Ring | Kind::Aio | Kind::Kernel | Kind::ShadowStack => {
            Some(Stays::Special)
        }
    };
    let by_trait = [
        (traits.locked, Stays::Locked),
        (traits.armed, Stays::Userfaultfd),
        // Registering asks for the right to write, whether or not it is writable now.
        (traits.unusual || traits.read_only, Stays::Unusual),
    ];
    let stays = by_trait.iter().find(|(is, _)| *is).map(|(_, why)| *why);
    by_kind.or(stays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::process::smaps::Smap;

    fn smap(line: &str, flags: &str) -> Option<Stays> {
        let record = format!("{line}\nRss: 8 kB\nVmFlags: {flags}\n");
        why_stays(&Mapping::of(&Smap::parse(record.as_bytes()).unwrap()))
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
