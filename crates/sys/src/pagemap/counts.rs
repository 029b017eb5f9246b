//! How many mappings a page frame has, those of all processes together: `/proc/kpagecount`
//! (`Documentation/admin-guide/mm/pagemap.rst`). Root's alone to read.
//!
//! On kernels that keep no count for the parts of a large folio (`CONFIG_NO_PAGE_MAPCOUNT`, Linux 6.15) it is an
//! average, so that nothing but what is worth doing may depend on it.

use super::read_at;
use rustix::io::Errno;
use std::fs::File;

/// An open `/proc/kpagecount`.
#[derive(Debug)]
pub struct FrameCounts {
    file: File,
}

/// Counts read at a time.
const BATCH: usize = 512;

impl FrameCounts {
    /// Opens it.
    ///
    /// # Errors
    /// `EACCES` for an ordinary user; `ENOENT` without `CONFIG_PROC_PAGE_MONITOR`, or where a container hides it.
    pub fn open() -> std::io::Result<Self> {
        let file = File::open("/proc/kpagecount")?;
        Ok(Self { file })
    }

    /// For each of `frames` the number of mappings it has; frames that follow each other cost one call together.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub fn of(&self, frames: &[u64], mut each: impl FnMut(u64)) -> Result<(), Errno> {
        let mut bytes = [0; BATCH * 8];
        let follows = |one: &u64, next: &u64| one.checked_add(1) == Some(*next);
        for run in frames.chunk_by(follows).flat_map(|run| run.chunks(BATCH)) {
            let Some(first) = run.first() else { continue };
            let buffer = bytes.get_mut(..run.len() * 8).unwrap_or_default();
            let length = read_at(&self.file, buffer, first.saturating_mul(8))?;
            let read = buffer.get(..length).unwrap_or_default();
            let (words, _) = read.as_chunks::<8>();
            for number in 0..run.len() {
                each(
                    words
                        .get(number)
                        .map_or(0, |word| u64::from_ne_bytes(*word)),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;
    use crate::pagemap::Pagemap;
    use plimsoll_testkit::need;
    use plimsoll_units::PageSize;

    #[test]
    fn what_one_process_maps_counts_one() {
        need!(Root, Kpageflags);
        let page = PageSize::new(rustix::param::page_size() as u64).unwrap();
        let own = vec![7u8; 1 << 20];
        let start = (own.as_ptr().addr() as u64).next_multiple_of(page.get());
        let pagemap = Pagemap::open(rustix::process::getpid(), page).unwrap();
        let mut frames = Vec::new();
        let keep = |_, entry: crate::pagemap::Entry| frames.extend(entry.frame());
        pagemap
            .entries(Span::new(start, 8 * page.get()), keep)
            .unwrap();
        assert_eq!(frames.len(), 8);
        let mut counts = Vec::new();
        let each = |count| counts.push(count);
        FrameCounts::open().unwrap().of(&frames, each).unwrap();
        assert_eq!(counts, [1; 8]);
    }
}
