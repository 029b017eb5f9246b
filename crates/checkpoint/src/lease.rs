//! Leases (`fcntl(2)`) that are being broken: somebody has opened the file, and the holder has been told, but has not given way
//! yet. The images hold what the lease is to become, with a bit of CRIU's.

/// In the type of a lock.
pub(crate) const LEASE_BREAKING: u32 = 4;

/// What a lease was before, so that it can be broken once more: its type, and the mode of an `open(2)` that breaks it.
/// `None` for one that nobody breaks.
pub(crate) fn before(kind: u32, open_flags: u32) -> Option<(i32, i32)> {
    if kind & LEASE_BREAKING == 0 {
        return None;
    }
    let reads = open_flags & libc::O_ACCMODE.unsigned_abs() == libc::O_RDONLY.unsigned_abs();
    Some(match (kind & !LEASE_BREAKING).cast_signed() {
        libc::F_RDLCK => (libc::F_WRLCK, libc::O_RDONLY),
        _ if reads => (libc::F_RDLCK, libc::O_WRONLY),
        _ => (libc::F_WRLCK, libc::O_WRONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_can_be_broken_to_what_is_to_come() {
        let [read, write, gone] =
            [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK].map(i32::cast_unsigned);
        let (reads, writes) = (0, libc::O_RDWR.unsigned_abs());
        let breaking = |kind| kind | LEASE_BREAKING;
        assert_eq!(before(write, writes), None);
        let was = (libc::F_WRLCK, libc::O_RDONLY);
        assert_eq!(before(breaking(read), writes), Some(was));
        let was = (libc::F_WRLCK, libc::O_WRONLY);
        assert_eq!(before(breaking(gone), writes), Some(was));
        let was = (libc::F_RDLCK, libc::O_WRONLY);
        assert_eq!(before(breaking(gone), reads), Some(was));
    }
}
