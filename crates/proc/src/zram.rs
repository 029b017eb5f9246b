//! zram: block devices that are compressed RAM (`Documentation/admin-guide/blockdev/zram.rst`).

use crate::Root;
use crate::text::{number, words};
use plimsoll_units::Bytes;

/// `/sys/block/zramN/mm_stat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MmStat {
    /// What is stored, uncompressed; pages of one repeated word aside.
    pub original_size: Bytes,
    /// The same compressed.
    pub compressed_size: Bytes,
    /// RAM that takes, with the allocator's overhead.
    pub used: Bytes,
    /// The most it may take; 0 where that is not limited.
    pub limit: Option<Bytes>,
}

impl MmStat {
    /// Reads the file: numbers in one line, more of them with every kernel.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = words(text.trim_ascii()).map_while(number).map(Bytes);
        Some(Self {
            original_size: numbers.next()?,
            compressed_size: numbers.next()?,
            used: numbers.next()?,
            limit: numbers.next(),
        })
    }
}

/// The RAM that each zram device holds, by name.
#[must_use]
pub fn read_all(root: &Root) -> Vec<(String, Bytes)> {
    let mut devices = Vec::new();
    for name in root.list("sys/block").unwrap_or_default() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("zram")) else {
            continue;
        };
        let stat = root.read(format!("sys/block/{name}/mm_stat"));
        if let Some(stat) = stat.ok().and_then(|text| MmStat::parse(&text)) {
            devices.push((name.to_owned(), stat.used));
        }
    }
    devices.sort();
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device() {
        let stat = MmStat::parse(b" 1024 300 4096 77 8192 1 0 0 0\n").unwrap();
        assert_eq!((stat.compressed_size, stat.used), (Bytes(300), Bytes(4096)));
        assert_eq!(stat.limit, Some(Bytes(77)));
        assert_eq!(MmStat::parse(b"1 x 3"), None);
    }
}
