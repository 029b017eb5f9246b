//! `/proc/PID/maps`: one line a mapping, ascending by address. The first line of each `smaps` record is the
//! same (`proc_pid_maps(5)`).
//!
//! ```text
//! 7f0a1c000000-7f0a1ffe9000 rw-p 00000000 00:00 0                          [heap]
//! start        end          prms offset   dev   inode                      name
//! ```

use super::Malformed;
use super::map_name::MapName;
use crate::text;
use plimsoll_units::Bytes;
use std::ops::Range;

bitflags::bitflags! {
    /// What the mapping's pages may be used for, as it stands now.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Perms: u8 {
        /// `r`
        const READ = 1;
        /// `w`
        const WRITE = 2;
        /// `x`
        const EXEC = 4;
        /// `s`, else `p`: private, copied on write.
        const SHARED = 8;
    }
}

/// The device a mapped file lies on; 0:0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// 0 for file systems without a disk: tmpfs, overlays, the kernel's own mounts.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// One mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Permissions.
    pub perms: Perms,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Device of the file.
    pub device: Device,
    /// Inode of the file; of a SysV segment, its shmid.
    pub inode: u64,
    /// The last column as it stands: newlines as `\012`, a deleted file's name with ` (deleted)` behind it.
    pub raw_name: &'a [u8],
}

impl<'a> Mapping<'a> {
    /// Reads one line; `None` when it is none of a mapping.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&b| b == b' ');
        let (start, end) = split(fields.next()?, b'-')?;
        let (start, end) = (text::hex(start)?, text::hex(end)?);
        let perms = parse_perms(fields.next()?)?;
        let offset = text::hex(fields.next()?)?;
        let (major, minor) = split(fields.next()?, b':')?;
        let device = Device {
            major: u32::try_from(text::hex(major)?).ok()?,
            minor: u32::try_from(text::hex(minor)?).ok()?,
        };
        let inode = text::number(fields.next()?)?;
        // The column is padded with blanks, and only those may go: a name can end with blanks of its own.
        let raw_name = fields.next().unwrap_or_default();
        let blanks = raw_name.iter().take_while(|&&b| b == b' ').count();
        (start < end).then_some(Self {
            start,
            end,
            perms,
            offset,
            device,
            inode,
            raw_name: raw_name.get(blanks..)?,
        })
    }

    /// Addresses, half-open.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its size in address space.
    #[must_use]
    pub fn size(&self) -> Bytes {
        Bytes(self.end.saturating_sub(self.start))
    }

    /// What the name says is mapped.
    #[must_use]
    pub fn name(&self) -> MapName<'a> {
        MapName::parse(self.raw_name)
    }

    /// Whether writes are seen by others who map the same.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.perms.contains(Perms::SHARED)
    }
}

/// All mappings of `maps`, one result a line.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Result<Mapping<'_>, Malformed>> {
    text::lines(text).map(|line| Mapping::parse(line).ok_or_else(|| Malformed::new("maps", line)))
}

fn parse_perms(word: &[u8]) -> Option<Perms> {
    const LETTERS: [(u8, Perms); 3] = [
        (b'r', Perms::READ),
        (b'w', Perms::WRITE),
        (b'x', Perms::EXEC),
    ];
    let [rwx @ .., last] = word else { return None };
    if rwx.len() != LETTERS.len() {
        return None;
    }
    let mut perms = match last {
        b's' => Perms::SHARED,
        b'p' => Perms::empty(),
        _ => return None,
    };
    for (found, (letter, perm)) in rwx.iter().zip(LETTERS) {
        match found {
            b'-' => {}
            found if *found == letter => perms |= perm,
            _ => return None,
        }
    }
    Some(perms)
}

fn split(word: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, word)?;
    Some((word.get(..at)?, word.get(at.checked_add(1)?..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_a_file() {
        let line =
            b"5565a57eb000-5565a57ec000 r-xp 00001000 fe:00 18504                      /bin/a b ";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.range(), 0x5565_a57e_b000..0x5565_a57e_c000);
        assert_eq!(mapping.perms, Perms::READ | Perms::EXEC);
        assert_eq!((mapping.offset, mapping.inode), (0x1000, 18504));
        assert_eq!(
            mapping.device,
            Device {
                major: 0xfe,
                minor: 0
            }
        );
        assert_eq!(mapping.raw_name, b"/bin/a b ");
        assert_eq!(mapping.size(), Bytes(0x1000));
    }

    #[test]
    fn a_line_without_a_name() {
        let mapping = Mapping::parse(b"7f5633984000-7f5633986000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(mapping.name(), MapName::Anonymous);
        assert!(!mapping.is_shared());
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            &b""[..],
            b"Size: 8 kB",
            b"2-1 rw-p 0 0:0 0",
            b"1-2 rwp 0 0:0 0",
            b"1-2 rw-q 0 0:0 0",
            b"1-2 wr-p 0 0:0 0",
            b"1-2 rw-p 0 00 0",
            b"1-2 rw-p 0 fffffffff:0 0",
        ] {
            assert_eq!(Mapping::parse(line), None, "{}", text::printable(line));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for mapping in parse(&bytes).flatten() {
                let _ = mapping.name();
            }
        }

        #[test]
        fn what_the_kernel_writes_is_read_back(
            start in 0..u64::MAX, len in 1u64.., offset: u64, minor: u32, inode: u64,
            name in "/[^\n]{0,40}",
        ) {
            let end = start.saturating_add(len);
            let line = format!("{start:08x}-{end:08x} rw-s {offset:08x} 00:{minor:02x} {inode}      {name}");
            let mapping = Mapping::parse(line.as_bytes()).unwrap();
            prop_assert_eq!((mapping.start, mapping.end, mapping.offset), (start, end, offset));
            prop_assert_eq!((mapping.device.minor, mapping.inode), (minor, inode));
            prop_assert_eq!(mapping.raw_name, name.as_bytes());
        }
    }
}
