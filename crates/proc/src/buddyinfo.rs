//! `/proc/buddyinfo`: free blocks of each size, by zone (`proc_buddyinfo(5)`).
//!
//! Free memory in blocks that are too small is of no use to who needs a larger one: this file shows it without
//! holding a lock for long.

use crate::text::{lines, number, words};

/// One zone's free blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone<'a> {
    /// The node's number.
    pub node: u64,
    /// `DMA`, `Normal`, …
    pub name: &'a [u8],
    /// Free blocks of 2⁰, 2¹, … pages.
    pub free_blocks: Vec<u64>,
}

/// The zones in the file's order.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Zone<'_>> {
    lines(text).filter_map(zone)
}

/// `Node 0, zone   Normal   4763 706 …`
fn zone(line: &[u8]) -> Option<Zone<'_>> {
    let mut words = words(line);
    let node = words.nth(1)?.strip_suffix(b",").and_then(number)?;
    let name = words.nth(1)?;
    Some(Zone {
        node,
        name,
        free_blocks: words.map_while(number).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file() {
        let zones: Vec<_> = parse(include_bytes!("../fixtures/buddyinfo-6.18.txt")).collect();
        assert_eq!(zones.len(), 3);
        assert_eq!((zones[2].node, zones[2].name), (0, b"Normal".as_slice()));
        assert!(zones.iter().all(|zone| zone.free_blocks.len() == 11));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(parse(b"Node\nNode 0 zone x 1\nNode 0, zone\n\n").count(), 0);
    }
}
