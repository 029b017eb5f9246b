//! `pagemap` images: which pages are stored, and where.
//!
//! Entries come in ascending order of address. Their pages lie in the `pages` file that the head names, one after another
//! in the order of the entries, without anything between them. For shared memory the address is an offset in the object.

use crate::entry::Entry;
use crate::error::ImageError;
use crate::frame::{Reader, Writer};
use crate::kind::Kind;
use crate::proto::{PagemapEntry, PagemapHead};
use std::io::Read;

/// The size of a page in images of x86-64, in bytes: no image says it, and this architecture has one.
pub const X86_64_PAGE_BYTES: u64 = 4096;

/// The pages are in the parent's images.
pub const PE_PARENT: u32 = 1;
/// The pages may be brought after the process runs again.
pub const PE_LAZY: u32 = 2;
/// The pages are next in the `pages` file.
pub const PE_PRESENT: u32 = 4;

impl PagemapEntry {
    /// A run of pages from this address on.
    pub fn run(vaddr: u64, nr_pages: u64, flags: u32) -> Self {
        Self {
            vaddr,
            // Readers before CRIU 4.2 know this field only.
            compat_nr_pages: u32::try_from(nr_pages).unwrap_or(u32::MAX),
            in_parent: None,
            flags: Some(flags),
            nr_pages: Some(nr_pages),
        }
    }

    /// How many pages, in whichever field this version of the format has them.
    pub fn pages(&self) -> u64 {
        self.nr_pages.unwrap_or(self.compat_nr_pages.into())
    }

    /// `PE_` flags; older sets had a field for one of them, and everything else was stored.
    pub fn page_flags(&self) -> u32 {
        match (self.flags, self.in_parent) {
            (Some(flags), _) => flags,
            (None, Some(true)) => PE_PARENT,
            (None, _) => PE_PRESENT,
        }
    }
}

/// A run of pages as a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSpan {
    /// The first address, a multiple of the page size.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// `PE_` flags.
    pub flags: u32,
}

impl PageSpan {
    /// The range of an entry; `None` if it is empty, not aligned to pages, or not in 64 bits.
    pub fn of(entry: &PagemapEntry, page_bytes: u64) -> Option<Self> {
        let length = entry.pages().checked_mul(page_bytes)?;
        let end = entry.vaddr.checked_add(length)?;
        let good = length > 0 && entry.vaddr.checked_rem(page_bytes) == Some(0);
        good.then_some(Self {
            start: entry.vaddr,
            end,
            flags: entry.page_flags(),
        })
    }
}

/// A `pagemap` image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pagemap {
    /// Names the `pages` file.
    pub head: Entry<PagemapHead>,
    /// Runs of pages, in order of address.
    pub entries: Vec<Entry<PagemapEntry>>,
}

impl Pagemap {
    /// Reads a `pagemap` or `pagemap-shmem` image.
    ///
    /// # Errors
    /// See [`Reader::next_entry`]. The order of entries is not looked at: that is `verify`'s.
    pub fn read(file: impl Read) -> Result<Self, ImageError> {
        let mut reader = Reader::open_as(file, Kind::Pagemap)?;
        let head = reader.next_entry()?.ok_or(ImageError::Cut {
            what: "the head",
            offset: 8,
        })?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
        Ok(Self { head, entries })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// See [`Writer::push`].
    pub fn write(&self) -> Result<Vec<u8>, ImageError> {
        let mut writer = Writer::new(Vec::new(), Kind::Pagemap)?;
        writer.push(&self.head)?;
        for entry in &self.entries {
            writer.push(entry)?;
        }
        Ok(writer.into_inner())
    }
}
