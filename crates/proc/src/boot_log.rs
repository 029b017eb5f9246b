//! What the kernel log says about memory that was set aside while the host booted.
//!
//! - `SLUB: … CPUs=N, …`: `kmem_cache_init` in `mm/slub.c`, the number of CPUs there can be.
//! - `NAME hash table entries: N (order: O, B bytes, linear)`: `alloc_large_system_hash` in `mm/mm_init.c`. Tables said
//!   to be in `vmalloc` are counted there; the earliest come from memblock and never were part of `MemTotal`.
//! - `percpu: Embedded N pages/cpu …`: `pcpu_embed_first_chunk` in `mm/percpu.c`, also from memblock, but counted in
//!   `Percpu`.
//! - `DMA: preallocated N KiB … pool for atomic allocations`: `kernel/dma/pool.c`.

use crate::kmsg;
use crate::text::{number, words};
use plimsoll_units::{Bytes, Pages};

/// What was set aside; empty where the log no longer reaches back to the boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootLog {
    /// Tables and pools within `MemTotal` that are in no counter.
    pub tables: Vec<(Box<[u8]>, Bytes)>,
    /// The per-CPU allocator's first chunk, all CPUs together.
    pub percpu_first_chunk: Option<Pages>,
}

/// Tables that are allocated before the page allocator runs (`HASH_EARLY`).
const EARLY: [&[u8]; 4] = [b"Dentry cache", b"Inode-cache", b"PID", b"PV qspinlock"];

impl BootLog {
    /// Reads the kernel log, as [`kmsg::read`] gives it.
    #[must_use]
    pub fn parse(log: &[u8]) -> Self {
        let mut boot = Self::default();
        let (mut cpus, mut pages_per_cpu) = (None, None);
        for record in kmsg::records(log) {
            if let Some(table) = hash_table(record.text).or_else(|| dma_pool(record.text)) {
                boot.tables.push(table);
            } else if let Some(slub) = record.text.strip_prefix(b"SLUB: ") {
                cpus = words(slub).find_map(possible_cpus);
            } else if let Some(chunk) = record.text.strip_prefix(b"percpu: Embedded ") {
                pages_per_cpu = words(chunk).next().and_then(number);
            }
        }
        boot.percpu_first_chunk = cpus
            .zip(pages_per_cpu)
            .map(|(cpus, pages)| Pages(pages.saturating_mul(cpus)));
        boot
    }
}

/// The number of `CPUs=N,`: `nr_cpu_ids`, which the slab allocator prints on every architecture.
fn possible_cpus(word: &[u8]) -> Option<u64> {
    number(word.strip_prefix(b"CPUs=")?.strip_suffix(b",")?)
}

fn hash_table(text: &[u8]) -> Option<(Box<[u8]>, Bytes)> {
    let name_ends = memchr::memmem::find(text, b" hash table entries: ")?;
    let (name, rest) = text.split_at_checked(name_ends)?;
    if EARLY.contains(&name) || memchr::memmem::find(rest, b"vmalloc").is_some() {
        return None;
    }
    let mut last = None;
    let bytes = words(rest).find_map(|word| {
        let is_unit = matches!(word, b"bytes" | b"bytes," | b"bytes)");
        let before = last.replace(word);
        is_unit.then(|| number(before?.strip_prefix(b"(").unwrap_or(before?)))?
    })?;
    Some((name.into(), Bytes(bytes)))
}

fn dma_pool(text: &[u8]) -> Option<(Box<[u8]>, Bytes)> {
    let rest = text.strip_prefix(b"DMA: preallocated ")?;
    let kib = words(rest).next().and_then(number)?;
    memchr::memmem::find(rest, b"pool for atomic allocations")?;
    Some((b"atomic DMA pool"[..].into(), Bytes::from_kib(kib)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot() {
        let boot = BootLog::parse(include_bytes!("../fixtures/kmsg-6.18.txt"));
        assert_eq!(boot.percpu_first_chunk, Some(Pages(106)));
        let sizes: Vec<_> = boot.tables.iter().map(|(_, bytes)| bytes.get()).collect();
        assert_eq!(
            sizes,
            [
                524_288, 524_288, 16_384, 32_768, 4096, 2_097_152, 262_144, 262_144, 2_097_152,
                2_097_152, 786_432, 1_048_576, 1_048_576
            ]
        );
    }

    #[test]
    fn tables_elsewhere_and_broken_lines() {
        let boot = BootLog::parse(
            b"6,1,1,-;Dentry cache hash table entries: 8 (order: 1, 8192 bytes, vmalloc)\n\
              6,1,1,-;X hash table entries: 8 (order: 1, 8192 bytes, vmalloc hugepage)\n\
              6,1,1,-;Y hash table entries: 8 (order: 1, many bytes, linear)\n\
              6,1,1,-;DMA: preallocated 2048 KiB GFP_KERNEL pool for atomic allocations\n\
              6,1,1,-;percpu: Embedded 9 pages/cpu\n",
        );
        assert_eq!(boot.percpu_first_chunk, None);
        assert_eq!(boot.tables.len(), 1);
        assert_eq!(boot.tables[0].1, Bytes::from_mib(2));
    }
}
