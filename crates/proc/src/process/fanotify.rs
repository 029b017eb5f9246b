//! What `/proc/PID/fdinfo/N` says of a fanotify group (`proc_pid_fdinfo(5)`, `Documentation/filesystems/proc.rst` 3.8): how it
//! was made, and its marks.

use super::fdinfo::labelled;
use crate::text;

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// `fanotify_init(2)`: flags, and those that the files of its events are opened with.
    Group {
        /// `FAN_*`
        flags: u32,
        /// `O_*`
        event_flags: u32,
    },
    /// `fanotify_mark(2)`
    Mark(Mark<'a>),
}

/// What is marked, and for which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark<'a> {
    /// What.
    pub on: On<'a>,
    /// `FAN_MARK_*`
    pub flags: u32,
    /// Events, `FAN_*`.
    pub mask: u32,
    /// Events that are passed over.
    pub ignored_mask: u32,
}

/// What a mark is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On<'a> {
    /// A mount, as in `mountinfo`.
    Mount(u64),
    /// A file.
    Inode {
        /// Its number.
        ino: u64,
        /// Its device, the kernel's encoding.
        sdev: u64,
        /// Type of its handle, where the file system gives one.
        fhandle_type: Option<u64>,
        /// The handle in hexadecimal.
        f_handle: Option<&'a [u8]>,
    },
    /// A whole file system, by its device.
    FileSystem(u64),
}

/// Reads one; `None` for lines of other things.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    line.starts_with(b"fanotify ").then_some(())?;
    let hex = |label: &[u8]| labelled(line, label).and_then(text::hex);
    let short = |label| hex(label).and_then(|value| u32::try_from(value).ok());
    if let Some(event_flags) = short(b"event-flags:") {
        return Some(Line::Group {
            flags: short(b"flags:")?,
            event_flags,
        });
    }
    let on = match (hex(b"mnt_id:"), hex(b"ino:")) {
        (Some(mount), _) => On::Mount(mount),
        (None, Some(ino)) => On::Inode {
            ino,
            sdev: hex(b"sdev:")?,
            fhandle_type: hex(b"fhandle-type:"),
            f_handle: labelled(line, b"f_handle:"),
        },
        (None, None) => On::FileSystem(hex(b"sdev:")?),
    };
    Some(Line::Mark(Mark {
        on,
        flags: short(b"mflags:")?,
        mask: short(b"mask:")?,
        ignored_mask: short(b"ignored_mask:")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Lines of Linux 6.18.
    #[test]
    fn groups_and_marks_are_read() {
        let group = parse(b"fanotify flags:10 event-flags:8000");
        assert_eq!(
            group,
            Some(Line::Group {
                flags: 0x10,
                event_flags: 0x8000
            })
        );
        let mark = parse(b"fanotify mnt_id:1d mflags:40 mask:40000038 ignored_mask:3");
        let Some(Line::Mark(mark)) = mark else {
            panic!("{mark:?}")
        };
        assert_eq!((mark.on, mark.flags), (On::Mount(0x1d), 0x40));
        assert_eq!((mark.mask, mark.ignored_mask), (0x4000_0038, 3));
        let mark = parse(
            b"fanotify ino:3c4a7 sdev:fe00000 mflags:0 mask:3b ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:a7c4030000000000 ",
        );
        let Some(Line::Mark(Mark { on, .. })) = mark else {
            panic!("{mark:?}")
        };
        let f_handle = Some(&b"a7c4030000000000"[..]);
        assert_eq!(
            on,
            On::Inode {
                ino: 0x3c4a7,
                sdev: 0xfe0_0000,
                fhandle_type: Some(1),
                f_handle
            }
        );
        assert_eq!(parse(b"inotify wd:1"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&[b"fanotify ", bytes.as_slice()].concat());
        }
    }
}
