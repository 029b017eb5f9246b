//! `/proc/slabinfo`: every object cache of the kernel (`slabinfo(5)`; `cache_show` in `mm/slab_common.c`). Root
//! reads it.

use crate::text::{lines, number, words};
use plimsoll_units::{Bytes, PageSize};

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache<'a> {
    /// `dentry`, `kmalloc-64`, …
    pub name: &'a [u8],
    /// Objects in use.
    pub active_objects: u64,
    /// Objects that its slabs hold, used or not.
    pub objects: u64,
    /// Size of one object.
    pub object_size: Bytes,
    /// Pages in one slab.
    pub pages_per_slab: u64,
    /// Slabs it has.
    pub slabs: u64,
}

impl Cache<'_> {
    /// What all its slabs take.
    #[must_use]
    pub fn bytes(&self, page: PageSize) -> Bytes {
        let slab = self.pages_per_slab.saturating_mul(page.get());
        Bytes(self.slabs.saturating_mul(slab))
    }
}

/// The caches in the file's order; heads and broken lines are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Cache<'_>> {
    lines(text).filter_map(cache)
}

/// `name active objects size per-slab pages-per-slab : tunables a b c : slabdata active-slabs slabs shared`
fn cache(line: &[u8]) -> Option<Cache<'_>> {
    let mut words = words(line);
    let name = words.next()?;
    let mut next = || number(words.next()?);
    let (active_objects, objects, object_size) = (next()?, next()?, next()?);
    let (_objects_per_slab, pages_per_slab) = (next()?, next()?);
    let mut slabdata = words.skip_while(|word| *word != b"slabdata").skip(2);
    Some(Cache {
        name,
        active_objects,
        objects,
        object_size: Bytes(object_size),
        pages_per_slab,
        slabs: number(slabdata.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let text = include_bytes!("../fixtures/slabinfo-6.18.txt");
        assert_eq!(parse(text).count(), lines(text).count() - 2);
        let dentry = parse(text).find(|cache| cache.name == b"dentry").unwrap();
        assert_eq!(dentry.object_size, Bytes(192));
        assert!(dentry.active_objects <= dentry.objects);
        let page = PageSize::new(4096).unwrap();
        assert!(dentry.bytes(page) >= Bytes(192 * dentry.objects));
    }

    #[test]
    fn huge_counts_saturate() {
        let line = b"x 1 1 1 1 18446744073709551615 : tunables 0 0 0 : slabdata 0 9 0\nshort 1 2\n";
        let caches: Vec<_> = parse(line).collect();
        assert_eq!(caches.len(), 1);
        assert_eq!(
            caches[0].bytes(PageSize::new(4096).unwrap()),
            Bytes(u64::MAX)
        );
    }
}
