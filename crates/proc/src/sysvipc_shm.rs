//! `/proc/sysvipc/shm`: System V shared memory segments of the reader's IPC namespace.
//!
//! `proc_sysvipc(5)`, `shmctl(2)`. A header names the columns, and the columns are taken by that name.
//! A segment lives until it is removed by name, attached or not.

use crate::text::{lines, number, words};
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What `shmctl(2)` and `ipcrm -m` call it.
    pub shmid: u64,
    /// As it was created, resident or not.
    pub size_bytes: Bytes,
    /// How many attachments; 0 for an orphan.
    pub nattch: u64,
    /// The process that created it; it may be gone.
    pub cpid: u64,
    /// Its owner.
    pub uid: u64,
    /// Resident (since Linux 2.6.34).
    pub rss_bytes: Option<Bytes>,
    /// Swapped out (since Linux 2.6.34).
    pub swap_bytes: Option<Bytes>,
}

/// The segments, in the file's order. Lines that are none are passed over.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Segment> {
    let mut lines = lines(text);
    let columns: Vec<&[u8]> = words(lines.next().unwrap_or_default()).collect();
    lines.filter_map(|line| segment(&columns, line)).collect()
}

fn segment(columns: &[&[u8]], line: &[u8]) -> Option<Segment> {
    let values: Vec<&[u8]> = words(line).collect();
    let column = |name: &str| {
        let at = columns.iter().position(|c| *c == name.as_bytes())?;
        number(values.get(at)?)
    };
    Some(Segment {
        shmid: column("shmid")?,
        size_bytes: Bytes(column("size")?),
        nattch: column("nattch")?,
        cpid: column("cpid")?,
        uid: column("uid")?,
        rss_bytes: column("rss").map(Bytes),
        swap_bytes: column("swap").map(Bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_orphan_and_a_segment_in_use() {
        let segments = parse(include_bytes!("../fixtures/sysvipc-shm-6.18.txt"));
        let [orphan, attached] = segments.as_slice() else {
            panic!("{segments:?}")
        };
        assert_eq!((orphan.nattch, orphan.rss_bytes), (0, Some(Bytes(1 << 20))));
        assert_eq!((attached.nattch, attached.size_bytes), (1, Bytes(2 << 20)));
        assert_eq!(attached.swap_bytes, Some(Bytes::ZERO));
    }

    #[test]
    fn an_old_kernel_does_not_tell_what_is_resident() {
        let text =
            b"key shmid perms size cpid lpid nattch uid\n 0 7 1600 4096 12 12 0 0\nrubbish\n";
        assert_eq!(parse(text).len(), 1);
        assert_eq!(parse(text)[0].rss_bytes, None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }
    }
}
