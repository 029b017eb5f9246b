//! What a set that this one builds on has already. Pages are compared with those of the same process or object there, byte
//! for byte, so nothing has to have watched the tree since, and nothing can have been missed.

use crate::error::Error;
use crate::set::Reading;
use plimsoll_image::Kind;
use plimsoll_image::pages::SetPages;
use plimsoll_units::PageSize;
use std::io;
use std::path::Path;

/// The set that a new one builds on.
#[derive(Debug)]
pub(super) struct Parent {
    pages: SetPages,
    page: Vec<u8>,
    /// What it has no pagemap of.
    absent: Option<(Kind, u64)>,
    set: Reading,
}

impl Parent {
    pub(super) fn open(directory: &Path, page_size: PageSize) -> Result<Self, Error> {
        let set = Reading::new(directory);
        Ok(Self {
            pages: set.pages()?,
            page: vec![0; usize::try_from(page_size.get()).unwrap_or(0)],
            absent: None,
            set,
        })
    }

    /// Whole pages from an address on, in runs that the parent has alike, or has not.
    pub(super) fn split<'b>(
        &mut self,
        (kind, id): (Kind, u64),
        at: u64,
        bytes: &'b [u8],
        page_size: PageSize,
    ) -> io::Result<Vec<(&'b [u8], bool)>> {
        if !self.has(kind, id) {
            return Ok(vec![(bytes, false)]);
        }
        let mut runs: Vec<(usize, bool)> = Vec::new();
        for (place, page) in bytes.chunks(self.page.len().max(1)).enumerate() {
            let address = at + place as u64 * page_size.get();
            let found = self.pages.read_address(kind, id, address, &mut self.page);
            let alike = found.map_err(io::Error::other)? && page == self.page;
            match runs.last_mut() {
                Some((length, same)) if *same == alike => *length += page.len(),
                _ => runs.push((page.len(), alike)),
            }
        }
        let mut rest = bytes;
        let piece = |(length, alike)| {
            let (piece, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some((piece, alike))
        };
        Ok(runs.into_iter().map_while(piece).collect())
    }

    /// Whether it knows this process or object at all.
    fn has(&mut self, kind: Kind, id: u64) -> bool {
        if self.absent == Some((kind, id)) {
            return false;
        }
        let has = self.set.path(kind, id).exists();
        self.absent = (!has).then_some((kind, id));
        has
    }
}
