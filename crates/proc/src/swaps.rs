//! `/proc/swaps`: the swap areas in use (`proc_swaps(5)`).

use crate::text::{lines, number, words};
use plimsoll_units::Bytes;

/// One swap area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area<'a> {
    /// Its path, as the kernel writes it: blanks as `\040`.
    pub path: &'a [u8],
    /// `partition` or `file`.
    pub kind: &'a [u8],
    /// Its size.
    pub size: Bytes,
    /// How much of it is used.
    pub used: Bytes,
    /// Higher is used first; below 0 where the kernel chose it.
    pub priority: i64,
}

/// The areas in the file's order.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Area<'_>> {
    lines(text).filter_map(area)
}

fn area(line: &[u8]) -> Option<Area<'_>> {
    let mut words = words(line);
    let (path, kind) = (words.next()?, words.next()?);
    let mut kib = || words.next().and_then(number).map(Bytes::from_kib);
    let (size, used) = (kib()?, kib()?);
    Some(Area {
        path,
        kind,
        size,
        used,
        priority: std::str::from_utf8(words.next()?).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas() {
        let areas: Vec<_> = parse(
            b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
              /var/tmp/a\\040swap\t\t\tfile\t\t65532\t\t0\t\t-2\n/dev/zram0 partition 8 4 100\nbroken 1 2\n",
        )
        .collect();
        assert_eq!(areas.len(), 2);
        assert_eq!(
            (areas[0].path, areas[0].priority),
            (b"/var/tmp/a\\040swap".as_slice(), -2)
        );
        assert_eq!((areas[1].size, areas[1].used), (Bytes(8192), Bytes(4096)));
    }
}
