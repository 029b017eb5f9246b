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

/// The numbers of all objects in `/proc/sysvipc/shm`, `sem` or `msg`, which each have a column of another name.
#[must_use]
pub fn numbers(text: &[u8], name: &str) -> Vec<i32> {
    let mut lines = lines(text);
    let at = words(lines.next().unwrap_or_default()).position(|column| column == name.as_bytes());
    let of_line = |line| i32::try_from(number(words(line).nth(at?)?)?).ok();
    lines.filter_map(of_line).collect()
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

    #[test]
    fn objects_of_every_kind_have_numbers() {
        let text = include_bytes!("../fixtures/sysvipc-shm-6.18.txt");
        let told: Vec<u64> = parse(text).iter().map(|it| it.shmid).collect();
        let numbered = numbers(text, "shmid").into_iter();
        assert_eq!(
            numbered.map(i64::from).collect::<Vec<_>>(),
            told.iter().map(|it| it.cast_signed()).collect::<Vec<_>>()
        );
        let sets = b"       key      semid perms      nsems\n  20      32769   600          3\n";
        assert_eq!(numbers(sets, "semid"), [32769]);
        assert!(numbers(sets, "msqid").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse(&text), numbers(&text, "shmid"));
        }
    }
}
