//! `/proc/pagetypeinfo`: free blocks by zone, mobility and size, and whole pageblocks by mobility (`mm/vmstat.c`). Root
//! reads it; the kernel walks free lists under the zone's lock for it, so it is not for every second.

use crate::text::{lines, number, words};
use plimsoll_units::Pages;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pagetypeinfo<'a> {
    /// Size of a pageblock: the unit in which mobility is kept.
    pub pages_per_block: Option<Pages>,
    /// Free blocks of each size.
    pub free: Vec<FreeList<'a>>,
    /// Pageblocks of each mobility.
    pub pageblocks: Vec<Pageblocks<'a>>,
}

/// Free blocks of one mobility in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeList<'a> {
    /// The node's number.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub zone: &'a [u8],
    /// `Unmovable`, `Movable`, …
    pub mobility: &'a [u8],
    /// Free blocks of 2⁰, 2¹, … pages. The kernel stops counting at 100,000: then there are at least so many.
    pub free_blocks: Vec<u64>,
}

/// Pageblocks of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pageblocks<'a> {
    /// The node's number.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub zone: &'a [u8],
    /// Mobility and number of pageblocks.
    pub count: Vec<(&'a [u8], u64)>,
}

impl<'a> Pagetypeinfo<'a> {
    /// Reads the whole file.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let mut info = Self::default();
        let mut mobilities = Vec::new();
        for line in lines(text) {
            if let Some(pages) = line.strip_prefix(b"Pages per block:") {
                info.pages_per_block = number(pages.trim_ascii()).map(Pages);
            } else if let Some(names) = line.strip_prefix(b"Number of blocks type") {
                mobilities = words(names).collect();
            } else if let Some((node, zone, rest)) = zone(line) {
                let mut rest = words(rest).peekable();
                if rest.next_if(|word| *word == b"type").is_some() {
                    info.free.extend(rest.next().map(|mobility| FreeList {
                        node,
                        zone,
                        mobility,
                        free_blocks: rest.map_while(count).collect(),
                    }));
                } else {
                    let count = mobilities
                        .iter()
                        .copied()
                        .zip(rest.map_while(number))
                        .collect();
                    info.pageblocks.push(Pageblocks { node, zone, count });
                }
            }
        }
        info
    }
}

/// `Node 0, zone Normal, REST`, with or without the second comma.
fn zone(line: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (node, rest) = split_at_byte(line.strip_prefix(b"Node")?, b',')?;
    let rest = rest
        .trim_ascii_start()
        .strip_prefix(b"zone")?
        .trim_ascii_start();
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b','))?;
    let (zone, rest) = rest.split_at_checked(end)?;
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    Some((number(node.trim_ascii())?, zone, rest))
}

fn split_at_byte(line: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// `123`, or `>100000` where the kernel stopped counting.
fn count(word: &[u8]) -> Option<u64> {
    number(word.strip_prefix(b">").unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let info = Pagetypeinfo::parse(include_bytes!("../fixtures/pagetypeinfo-6.18.txt"));
        assert_eq!(info.pages_per_block, Some(Pages(512)));
        assert_eq!(info.free.len(), 15);
        assert!(info.free.iter().all(|list| list.free_blocks.len() == 11));
        assert_eq!(info.pageblocks.len(), 3);
        let normal = &info.pageblocks[2];
        assert_eq!(normal.zone, b"Normal");
        assert!(
            normal
                .count
                .iter()
                .any(|(mobility, blocks)| *mobility == b"Movable" && *blocks > 0)
        );
    }

    #[test]
    fn counts_the_kernel_gave_up_on_and_broken_lines() {
        let info = Pagetypeinfo::parse(
            b"Node 0, zone DMA, type Movable >100000 2\nNode 0, zone DMA, type\nNode 0, zone\n",
        );
        assert_eq!(info.free[0].free_blocks, [100_000, 2]);
        assert_eq!((info.free.len(), info.pageblocks.len()), (1, 0));
    }
}
