//! Pages written into a process, but for those that it was born with: they stay shared with its parent's.

use super::super::inherited::{Inherited, span};
use super::super::task::{Memory, Task};
use super::pages::{Pages, span as span_of};
use crate::error::{Error, Step};
use crate::pieces;
use crate::vma::{Status, status};
use plimsoll_image::pages::Stored;
use plimsoll_image::proto::MmEntry;
use plimsoll_sys::Span;
use rustix::io::Errno;

impl Pages {
    /// Drops what a child has of its parent's pages and did not have.
    pub(super) fn drop_those_of(
        &self,
        theirs: &Self,
        inherited: &Inherited<'_>,
        task: &mut Task,
    ) -> Result<(), Error> {
        let mut gone: Vec<Span> = Vec::new();
        for kept in inherited.kept() {
            for span in theirs.within(kept) {
                let mut at = span.start;
                for ours in self.within(span) {
                    gone.push(Span {
                        start: at,
                        end: ours.start,
                    });
                    at = ours.end;
                }
                gone.push(Span {
                    start: at,
                    end: span.end,
                });
            }
        }
        for span in gone.into_iter().filter(|span| !span.is_empty()) {
            const DONTNEED: u64 = libc::MADV_DONTNEED.unsigned_abs() as u64;
            let args = [span.start, span.len(), DONTNEED];
            task.call("drop inherited pages of", libc::SYS_madvise, args)?;
        }
        Ok(())
    }

    /// Writes all pages; those of the vdso are compared, since it is the running kernel's, and so are those that are there
    /// already, since writing them would end their sharing.
    pub(super) fn write(
        &self,
        task: &Task,
        mm: &MmEntry,
        inherited: Option<(&Self, &Inherited<'_>)>,
    ) -> Result<(), Error> {
        let vdso = mm
            .vmas
            .iter()
            .find(|vma| status(vma).contains(Status::VDSO));
        let vdso = vdso.map_or(Span::new(0, 0), span);
        let memory = task.memory();
        pieces::each(&self.pieces(), |piece, buffer| {
            let is_there = |(theirs, inherited): (&Self, &Inherited<'_>)| {
                self.is_the_same(*piece, theirs, inherited)
            };
            if inherited.is_some_and(is_there) {
                return Ok(()); // one page in the images, and in memory already
            }
            let bytes = self.fetch(*piece, buffer)?;
            let at = piece.start;
            if !vdso.contains(at) {
                return match inherited {
                    Some((theirs, inherited)) => {
                        self.write_new(memory, at, bytes, theirs, inherited)
                    }
                    None => memory.write(at, bytes),
                };
            }
            let mut present = vec![0; bytes.len()];
            memory.read(at, &mut present)?;
            if present == bytes {
                return Ok(());
            }
            Err(Step::new("use the vdso of another kernel in", memory.0).errno(Errno::NOTSUP))
        })
    }

    /// Whether a piece is inherited, and its pages are those of the parent by their place in the images.
    fn is_the_same(&self, piece: Stored, theirs: &Self, inherited: &Inherited<'_>) -> bool {
        let mut at = piece.start;
        for their in theirs.runs_within(span_of(&piece)) {
            let same = piece.part(their.start, their.end) == Some(their);
            if their.start != at || !same {
                return false;
            }
            at = their.end;
        }
        let page = usize::try_from(self.page_size.get()).unwrap_or(usize::MAX);
        let mut pages = (piece.start..piece.end).step_by(page);
        at == piece.end && pages.all(|address| inherited.at(address).is_some())
    }

    /// Writes what is not there already.
    fn write_new(
        &self,
        memory: Memory,
        at: u64,
        bytes: &[u8],
        theirs: &Self,
        inherited: &Inherited<'_>,
    ) -> Result<(), Error> {
        let page = usize::try_from(self.page_size.get()).unwrap_or(usize::MAX);
        let mut parents = vec![0; bytes.len()];
        let mut done = 0;
        // Pages that differ, not written yet.
        let mut begun = 0;
        while done < bytes.len() {
            let address = at + done as u64;
            let rest = parents.get_mut(done..).unwrap_or_default();
            let same_mapping = inherited.at(address).is_some();
            let length = if same_mapping {
                theirs.read(address, rest)?
            } else {
                0
            };
            if length == 0 {
                done += page;
                continue;
            }
            for start in (done..done + length).step_by(page) {
                let range = start..start + page;
                if bytes.get(range.clone()) == parents.get(range) {
                    let different = bytes.get(begun..start).unwrap_or_default();
                    if !different.is_empty() {
                        memory.write(at + begun as u64, different)?;
                    }
                    begun = start + page;
                }
            }
            done += length;
        }
        match bytes.get(begun..).filter(|rest| !rest.is_empty()) {
            Some(rest) => memory.write(at + begun as u64, rest),
            None => Ok(()),
        }
    }
}
