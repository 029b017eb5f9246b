//! `/proc/PID/mountinfo`: what is mounted where, as that process sees it.
//!
//! `proc_pid_mountinfo(5)`, `Documentation/filesystems/proc.rst` 3.5. The kernel writes blanks, newlines,
//! backslashes and (in newer versions) `#` in names as three octal digits; all other bytes come as they are.

use crate::text::{lines, number};
use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique while it is mounted.
    pub id: u64,
    /// The mount it lies on.
    pub parent: u64,
    /// `st_dev` of its files, as major and minor number.
    pub device: (u32, u32),
    /// Which directory of the file system is mounted, seen from that file system's root.
    pub root: PathBuf,
    /// Where, seen from the process's root.
    pub mount_point: PathBuf,
    /// `tmpfs`, `cgroup2`, `fuse.sshfs`, …
    pub fs_type: Vec<u8>,
    /// What is mounted: a device, or any word.
    pub source: Vec<u8>,
    /// Options of the file system (not those of this mount of it), separated by commas.
    pub super_options: Vec<u8>,
}

impl Mount {
    /// Whether the file system's options hold this word.
    #[must_use]
    pub fn has_super_option(&self, option: &[u8]) -> bool {
        self.super_options
            .split(|&b| b == b',')
            .any(|o| o == option)
    }
}

/// The mounts, in the order in which they were made visible: of two at one place the later hides the other.
/// Lines that are no mount are passed over.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Mount> {
    lines(text).filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    // Single blanks, since a source may be empty.
    let mut fields = line.split(|&byte| byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = device(fields.next()?)?;
    let root = path(fields.next()?);
    let mount_point = path(fields.next()?);
    let _mount_options = fields.next()?;
    // Any number of optional fields (`shared:2`), ended by a lone dash.
    fields.find(|&field| field == b"-")?;
    Some(Mount {
        id,
        parent,
        device,
        root,
        mount_point,
        fs_type: unescape(fields.next()?).into_owned(),
        source: unescape(fields.next()?).into_owned(),
        super_options: unescape(fields.next().unwrap_or_default()).into_owned(),
    })
}

fn device(word: &[u8]) -> Option<(u32, u32)> {
    let colon = memchr::memchr(b':', word)?;
    let part = |bytes: Option<&[u8]>| u32::try_from(number(bytes?)?).ok();
    Some((part(word.get(..colon))?, part(word.get(colon + 1..))?))
}

fn path(word: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(word).into_owned()).into()
}

/// Undoes the kernel's octal escapes (`\040` for a blank); what is no such escape stays as it is.
#[must_use]
pub fn unescape(word: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', word).is_none() {
        return Cow::Borrowed(word);
    }
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        match (first == b'\\').then(|| octal(after)).flatten() {
            Some((byte, after_escape)) => {
                plain.push(byte);
                rest = after_escape;
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

/// The byte that three octal digits stand for, and what follows them.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(3)?;
    let value = digits.iter().try_fold(0u32, |sum, &digit| {
        Some(sum << 3 | char::from(digit).to_digit(8)?)
    })?;
    Some((u8::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn a_line_with_optional_fields_and_one_without() {
        let mounts = parse(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
              35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
              40 31 0:40 / /x rw - tmpfs  rw,size=4k\n",
        );
        let [disk, cgroup, nameless] = mounts.as_slice() else {
            panic!("{mounts:?}")
        };
        assert_eq!((disk.id, disk.parent, disk.device), (36, 35, (98, 0)));
        assert_eq!(disk.root, Path::new("/mnt1"));
        assert_eq!(disk.fs_type, b"ext3");
        assert_eq!(cgroup.mount_point, Path::new("/sys/fs/cgroup/memory"));
        assert!(nameless.source.is_empty() && nameless.has_super_option(b"size=4k"));
        assert!(cgroup.has_super_option(b"memory") && !cgroup.has_super_option(b"mem"));
    }

    #[test]
    fn lines_that_are_no_mount_are_passed_over() {
        for text in [
            &b""[..],
            b"\n\n",
            b"36 35 98:0 /mnt1 /mnt2 rw\n",
            b"36 35 98 / / rw - ext3 /dev/root rw\n",
            b"x 35 98:0 / / rw - ext3 /dev/root rw\n",
            b"36 35 98:0 / / rw - ext3\n",
        ] {
            assert_eq!(parse(text), [], "{text:?}");
        }
    }

    /// As the kernel's `seq_path` does it.
    fn escape(name: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for &byte in name {
            if b" \t\n\\#".contains(&byte) {
                text.extend(format!("\\{byte:03o}").bytes());
            } else {
                text.push(byte);
            }
        }
        text
    }

    proptest! {
        #[test]
        fn any_mount_point_is_read_back(name in proptest::collection::vec(1u8.., 1..60)) {
            let text = [b"1 2 0:3 / ", &escape(&name)[..], b" rw - tmpfs none rw\n"].concat();
            let mounts = parse(&text);
            prop_assert_eq!(mounts.len(), 1);
            prop_assert_eq!(mounts[0].mount_point.as_os_str().as_bytes(), &name[..]);
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse(&text), unescape(&text));
        }
    }
}
