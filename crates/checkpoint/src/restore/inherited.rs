//! What a child keeps of the memory that it is born with. Its parent has its own by then, so that pages that both had since
//! their `fork(2)` are one page again.

use crate::vma::{has_pages, unseen_by_children};
use plimsoll_image::proto::{MmEntry, VmaEntry};
use plimsoll_sys::Span;
use std::collections::BTreeMap;

/// The memory that a child is born with, and what of it is its own.
#[derive(Debug, Default)]
pub(super) struct Inherited<'s> {
    /// Mappings that parent and child have alike, by where they begin: the child's.
    kept: BTreeMap<u64, &'s VmaEntry>,
    /// What the child has no use for.
    pub(super) unused: Vec<Span>,
}

impl<'s> Inherited<'s> {
    /// Of a child whose parent's mappings are `parent`.
    pub(super) fn of(parent: &MmEntry, child: &'s MmEntry) -> Self {
        let theirs: BTreeMap<u64, &VmaEntry> = child
            .vmas
            .iter()
            .filter(|vma| has_pages(vma))
            .map(|vma| (vma.start, vma))
            .collect();
        let mut inherited = Self::default();
        for vma in parent.vmas.iter().filter(|vma| super::memory::is_made(vma)) {
            match theirs.get(&vma.start).filter(|child| alike(vma, child)) {
                Some(child) => drop(inherited.kept.insert(child.start, child)),
                None => inherited.unused.push(span(vma)),
            }
        }
        inherited.unused = Span::joined(inherited.unused);
        inherited
    }

    /// Whether a mapping of the child is there already.
    pub(super) fn keeps(&self, vma: &VmaEntry) -> bool {
        self.kept.contains_key(&vma.start)
    }

    /// The kept mapping that an address lies in.
    pub(super) fn at(&self, address: u64) -> Option<&'s VmaEntry> {
        let (_, vma) = self.kept.range(..=address).next_back()?;
        (address < vma.end).then_some(*vma)
    }

    /// All that are kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = Span> {
        self.kept.values().map(|vma| span(vma))
    }
}

/// Whether what the child inherits is what it had, but for its pages and its protection.
fn alike(parent: &VmaEntry, child: &VmaEntry) -> bool {
    let key = |vma: &VmaEntry| {
        let locked = libc::MAP_LOCKED.unsigned_abs();
        let advice = vma.madv.unwrap_or(0) & !unseen_by_children();
        let place = (vma.start, vma.end, vma.pgoff, vma.shmid);
        (place, vma.status, vma.flags & !locked, advice)
    };
    key(parent) == key(child)
}

pub(super) fn span(vma: &VmaEntry) -> Span {
    Span {
        start: vma.start,
        end: vma.end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vma::Status;

    fn mm(vmas: impl IntoIterator<Item = VmaEntry>) -> MmEntry {
        MmEntry {
            vmas: vmas.into_iter().collect(),
            ..MmEntry::default()
        }
    }

    fn anonymous(start: u64, end: u64) -> VmaEntry {
        VmaEntry {
            start,
            end,
            status: (Status::REGULAR | Status::ANON_PRIVATE).bits(),
            ..VmaEntry::default()
        }
    }

    #[test]
    fn what_both_have_alike_is_kept_and_the_rest_goes() {
        let shared = VmaEntry {
            status: (Status::REGULAR | Status::FILE_SHARED).bits(),
            ..anonymous(0x6000, 0x7000)
        };
        let parent = mm([
            anonymous(0x1000, 0x3000),
            anonymous(0x4000, 0x5000),
            anonymous(0x5000, 0x6000),
            shared,
        ]);
        let locked = VmaEntry {
            flags: libc::MAP_LOCKED.unsigned_abs(),
            prot: 1,
            ..anonymous(0x1000, 0x3000)
        };
        let child = mm([locked, anonymous(0x4000, 0x5800), shared]);
        let inherited = Inherited::of(&parent, &child);
        assert!(inherited.keeps(&child.vmas[0]));
        assert!(!inherited.keeps(&child.vmas[1]));
        assert!(!inherited.keeps(&child.vmas[2]));
        assert_eq!(inherited.unused, [Span::new(0x4000, 0x3000)]);
        assert_eq!(inherited.at(0x2fff).map(|vma| vma.start), Some(0x1000));
        assert_eq!(inherited.at(0x3000), None);
    }

    #[test]
    fn advice_that_keeps_a_mapping_from_children_is_given_after_they_are_born() {
        let wiped = VmaEntry {
            madv: Some(1 << libc::MADV_WIPEONFORK),
            ..anonymous(0x1000, 0x2000)
        };
        let other = VmaEntry {
            madv: Some(1 << libc::MADV_MERGEABLE),
            ..anonymous(0x1000, 0x2000)
        };
        let child = mm([anonymous(0x1000, 0x2000)]);
        assert!(Inherited::of(&mm([wiped]), &child).keeps(&child.vmas[0]));
        assert!(!Inherited::of(&mm([other]), &child).keeps(&child.vmas[0]));
    }
}
