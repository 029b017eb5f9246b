//! Locks and leases, as `fdinfo` shows them on the descriptor that they were taken by (`proc_locks(5)`):
//!
//! ```text
//! lock: 1: POSIX  ADVISORY  WRITE 66 fe:00:1234 0 EOF
//! ```

use crate::lease::LEASE_BREAKING;
use plimsoll_image::proto::FileLockEntry;
use plimsoll_proc::text::{number, words};

/// As the images number them.
const KINDS: [(&[u8], u32); 4] = [(b"POSIX", 1), (b"FLOCK", 2), (b"OFDLCK", 4), (b"LEASE", 8)];
const FL_POSIX: u32 = 1;

/// The lock that a line of `fdinfo` shows; `None` for other lines, and for locks of other processes.
pub(super) fn read(line: &[u8], pid: u32, fd: u32) -> Option<FileLockEntry> {
    let mut words = words(line.strip_prefix(b"lock:")?).skip(1);
    let name = words.next()?;
    let (_, flag) = KINDS.iter().find(|(known, _)| *known == name)?;
    let breaking = words.next()? == b"BREAKING";
    let kind = match words.next()? {
        b"READ" => libc::F_RDLCK,
        b"WRITE" => libc::F_WRLCK,
        _ => libc::F_UNLCK,
    };
    let owner = number(words.next()?);
    if *flag == FL_POSIX && owner != Some(pid.into()) {
        return None;
    }
    let _file = words.next()?;
    let start = number(words.next()?)?;
    let end = number(words.next()?);
    Some(FileLockEntry {
        flag: *flag,
        // Of a lease that is being broken: what it is to become.
        r#type: kind.unsigned_abs() | if breaking { LEASE_BREAKING } else { 0 },
        pid: pid.cast_signed(),
        fd: fd.cast_signed(),
        start: start.cast_signed(),
        // Zero is up to the end, wherever that is.
        len: end.map_or(0, |end| {
            end.saturating_sub(start).saturating_add(1).cast_signed()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_read() {
        let lock = read(
            b"lock:\t1: POSIX  ADVISORY  WRITE 66 fe:00:1234 0 EOF",
            66,
            3,
        )
        .unwrap();
        assert_eq!((lock.flag, lock.r#type, lock.start, lock.len), (1, 1, 0, 0));
        let lock = read(
            b"lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:1234 10 19",
            66,
            3,
        )
        .unwrap();
        assert_eq!(
            (lock.flag, lock.r#type, lock.start, lock.len),
            (4, 0, 10, 10)
        );
        assert_eq!(
            read(
                b"lock:\t1: POSIX  ADVISORY  WRITE 67 fe:00:1234 0 EOF",
                66,
                3
            ),
            None
        );
        assert_eq!(read(b"pos:\t0", 66, 3), None);
        let lease = b"lock:\t1: LEASE  BREAKING  READ 66 fe:00:1234 0 EOF";
        let lease = read(lease, 66, 3).unwrap();
        assert_eq!((lease.flag, lease.r#type), (8, LEASE_BREAKING));
    }
}
