//! `/proc/PID/fdinfo/N`: an open file's position and flags, and what its kind adds (`proc_pid_fdinfo(5)`,
//! `Documentation/filesystems/proc.rst` 3.8; DRM: `Documentation/gpu/drm-usage-stats.rst`).

use super::Malformed;
use crate::text;
use plimsoll_units::Bytes;

/// One file that an epoll instance watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollTarget {
    /// The descriptor's number when it was added; it may be closed or another by now.
    pub tfd: u32,
    /// `EPOLL*` events.
    pub events: u32,
    /// What `epoll_wait(2)` gives back with them.
    pub data: u64,
    /// Inode of the file, and its device: they tell whether `tfd` is still the same (4.13).
    pub ino: Option<u64>,
    /// Device number, the kernel's encoding.
    pub sdev: Option<u64>,
}

/// One watch of an inotify instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InotifyWatch<'a> {
    /// Watch descriptor.
    pub wd: u32,
    /// Inode watched.
    pub ino: u64,
    /// Its device, the kernel's encoding.
    pub sdev: u64,
    /// `IN_*` events.
    pub mask: u32,
    /// Type of the file handle, where the file system gives one.
    pub fhandle_type: Option<u64>,
    /// The file handle in hexadecimal, with which `open_by_handle_at(2)` finds the inode again.
    pub f_handle: Option<&'a [u8]>,
}

/// A timer, as `timerfd_gettime(2)` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timer {
    /// `CLOCK_*`
    pub clockid: u32,
    /// Expirations not yet read.
    pub ticks: u64,
    /// Flags given to `timerfd_settime(2)`.
    pub settime_flags: u32,
    /// Until the next expiration: seconds and nanoseconds; 0 is disarmed.
    pub value: (u64, u64),
    /// Between expirations.
    pub interval: (u64, u64),
}

/// What the kind of the file adds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind<'a> {
    /// Nothing, or nothing that is known here.
    Plain,
    /// `eventfd(2)`
    Eventfd {
        /// The counter.
        count: u64,
        /// Whether it counts like a semaphore (6.5).
        semaphore: Option<bool>,
    },
    /// `epoll(7)`
    Epoll(Vec<EpollTarget>),
    /// `timerfd_create(2)`
    Timerfd(Timer),
    /// `signalfd(2)`: bit N-1 is signal N.
    Signalfd(u64),
    /// `inotify(7)`
    Inotify(Vec<InotifyWatch<'a>>),
    /// `fanotify(7)`: [`super::fanotify`] reads its marks from [`Fdinfo::lines`].
    Fanotify,
    /// `pidfd_open(2)`: the process, -1 when it is gone.
    Pidfd(i64),
    /// `io_uring_setup(2)`
    IoUring {
        /// Registered files.
        user_files: u64,
        /// Registered buffers: pages pinned for ever.
        user_bufs: u64,
    },
    /// `userfaultfd(2)`: faults not yet read, and all not yet answered.
    Userfaultfd {
        /// Not yet read.
        pending: u64,
        /// Read or not, not yet answered.
        total: u64,
    },
    /// A GPU's client.
    Drm {
        /// `drm-driver`
        driver: &'a [u8],
        /// Resident memory, summed over regions; `None` where the driver does not tell.
        resident: Option<Bytes>,
    },
}

/// One open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fdinfo<'a> {
    /// Position in the file.
    pub pos: i64,
    /// `O_*` flags of `open(2)`, `O_CLOEXEC` that of this descriptor.
    pub flags: u32,
    /// Its mount, as in `mountinfo` (3.15).
    pub mnt_id: Option<u64>,
    /// Its inode (5.14).
    pub ino: Option<u64>,
    /// What its kind adds.
    pub kind: Kind<'a>,
    text: &'a [u8],
}

impl<'a> Fdinfo<'a> {
    /// Reads the file.
    ///
    /// # Errors
    /// When position and flags are missing.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let value = |key| value(text, key);
        let read = || {
            Some(Self {
                pos: std::str::from_utf8(value("pos")?).ok()?.parse().ok()?,
                flags: octal(value("flags")?)?,
                mnt_id: value("mnt_id").and_then(text::number),
                ino: value("ino").and_then(text::number),
                kind: kind(text).unwrap_or(Kind::Plain),
                text,
            })
        };
        read().ok_or_else(|| Malformed::new("fdinfo", text))
    }

    /// All lines, also those that are not known here: locks (`lock:`), fanotify marks, …
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        text::lines(self.text)
    }
}

/// The kind is told by a line that only it has.
fn kind(text: &[u8]) -> Option<Kind<'_>> {
    let get = |key| value(text, key);
    let number = |key| get(key).and_then(text::number);
    for line in text::lines(text) {
        let (key, found) = text::key_value(line).unwrap_or((line, b""));
        return Some(match key {
            b"eventfd-count" => Kind::Eventfd {
                count: text::hex(found)?,
                semaphore: number("eventfd-semaphore").map(|n| n != 0),
            },
            b"tfd" => Kind::Epoll(text::lines(text).filter_map(epoll_target).collect()),
            b"clockid" => Kind::Timerfd(Timer {
                clockid: u32::try_from(text::number(found)?).ok()?,
                ticks: number("ticks")?,
                settime_flags: octal(get("settime flags")?)?,
                value: pair(get("it_value")?)?,
                interval: pair(get("it_interval")?)?,
            }),
            b"sigmask" => Kind::Signalfd(text::hex(found)?),
            b"Pid" => Kind::Pidfd(std::str::from_utf8(found).ok()?.parse().ok()?),
            b"UserBufs" => Kind::IoUring {
                user_files: number("UserFiles")?,
                user_bufs: text::number(found)?,
            },
            b"pending" => Kind::Userfaultfd {
                pending: text::number(found)?,
                total: number("total")?,
            },
            b"drm-driver" => Kind::Drm {
                driver: found,
                resident: drm_resident(text),
            },
            _ if key.starts_with(b"inotify wd") => {
                Kind::Inotify(text::lines(text).filter_map(inotify_watch).collect())
            }
            _ if key.starts_with(b"fanotify ") => Kind::Fanotify,
            _ => continue,
        });
    }
    None
}

fn epoll_target(line: &[u8]) -> Option<EpollTarget> {
    Some(EpollTarget {
        tfd: u32::try_from(text::number(labelled(line, b"tfd:")?)?).ok()?,
        events: u32::try_from(text::hex(labelled(line, b"events:")?)?).ok()?,
        data: text::hex(labelled(line, b"data:")?)?,
        ino: labelled(line, b"ino:").and_then(text::hex),
        sdev: labelled(line, b"sdev:").and_then(text::hex),
    })
}

fn inotify_watch(line: &[u8]) -> Option<InotifyWatch<'_>> {
    let hex = |label| labelled(line, label).and_then(text::hex);
    line.starts_with(b"inotify ").then_some(())?;
    Some(InotifyWatch {
        wd: u32::try_from(hex(b"wd:")?).ok()?,
        ino: hex(b"ino:")?,
        sdev: hex(b"sdev:")?,
        mask: u32::try_from(hex(b"mask:")?).ok()?,
        fhandle_type: hex(b"fhandle-type:"),
        f_handle: labelled(line, b"f_handle:"),
    })
}

fn drm_resident(text: &[u8]) -> Option<Bytes> {
    let regions = |prefix: &'static [u8]| {
        text::lines(text)
            .filter_map(text::key_value)
            .filter(move |(key, _)| key.starts_with(prefix))
            .filter_map(|(_, size)| drm_size(size))
    };
    // Older drivers say only `drm-memory-`, which the newer kernels' documents keep as its alias.
    [&b"drm-resident-"[..], b"drm-memory-"]
        .into_iter()
        .find(|prefix| regions(prefix).next().is_some())
        .map(|prefix| regions(prefix).sum())
}

fn drm_size(size: &[u8]) -> Option<Bytes> {
    let mut words = text::words(size);
    let number = text::number(words.next()?)?;
    let unit = match words.next() {
        None => 1,
        Some(b"KiB") => 1 << 10,
        Some(b"MiB") => 1 << 20,
        Some(_) => return None,
    };
    Some(Bytes(number.saturating_mul(unit)))
}

/// The word behind a label in a line of `label: value` pairs, the blank being optional.
pub(super) fn labelled<'a>(line: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    let mut words = text::words(line);
    while let Some(word) = words.next() {
        match word.strip_prefix(label) {
            Some([]) => return words.next(),
            Some(value) => return Some(value),
            None => {}
        }
    }
    None
}

fn value<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    super::status::field(text, key.as_bytes())
}

fn octal(word: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(word).ok()?, 8).ok()
}

/// `(seconds, nanoseconds)`
fn pair(word: &[u8]) -> Option<(u64, u64)> {
    let inner = word.strip_prefix(b"(")?.strip_suffix(b")")?;
    let comma = memchr::memchr(b',', inner)?;
    let (seconds, nanoseconds) = inner.split_at(comma);
    let nanoseconds = nanoseconds.strip_prefix(b",")?.trim_ascii();
    Some((text::number(seconds)?, text::number(nanoseconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMON: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n";

    fn kind_of(lines: &str) -> Kind<'static> {
        let text = Box::leak(format!("{COMMON}{lines}").into_boxed_str());
        let info = Fdinfo::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (info.flags, info.mnt_id, info.ino),
            (0o2_000_002, Some(17), Some(1038))
        );
        info.kind
    }

    // All lines below are from Linux 6.18, but DRM's, which are those of its documentation.
    #[test]
    fn every_kind_is_told_by_its_lines() {
        assert_eq!(kind_of(""), Kind::Plain);
        assert_eq!(
            kind_of("eventfd-count:               1f\neventfd-id: 1\neventfd-semaphore: 0\n"),
            Kind::Eventfd {
                count: 0x1f,
                semaphore: Some(false)
            }
        );
        assert_eq!(
            kind_of(
                "tfd:       15 events:       1f data:                f  pos:0 ino:72ef sdev:f\n"
            ),
            Kind::Epoll(vec![EpollTarget {
                tfd: 15,
                events: 0x1f,
                data: 15,
                ino: Some(0x72ef),
                sdev: Some(15)
            }])
        );
        assert_eq!(
            kind_of(
                "clockid: 1\nticks: 2\nsettime flags: 01\nit_value: (3, 4)\nit_interval: (5, 6)\n"
            ),
            Kind::Timerfd(Timer {
                clockid: 1,
                ticks: 2,
                settime_flags: 1,
                value: (3, 4),
                interval: (5, 6)
            })
        );
        assert_eq!(
            kind_of("sigmask:\t0101010101010001\n"),
            Kind::Signalfd(0x0101_0101_0101_0001)
        );
        assert_eq!(
            kind_of(
                "inotify wd:1 ino:3c4a7 sdev:fe00000 mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:a7c4030000000000\n"
            ),
            Kind::Inotify(vec![InotifyWatch {
                wd: 1,
                ino: 0x3c4a7,
                sdev: 0xfe0_0000,
                mask: 0x100,
                fhandle_type: Some(1),
                f_handle: Some(b"a7c4030000000000"),
            }])
        );
        assert_eq!(
            kind_of("fanotify flags:0 event-flags:8000\n"),
            Kind::Fanotify
        );
        assert_eq!(kind_of("Pid:\t-1\nNSpid:\t-1\n"), Kind::Pidfd(-1));
        assert_eq!(
            kind_of("SqMask:\t0x3\nUserFiles:\t0\nUserBufs:\t7\nPollList:\n"),
            Kind::IoUring {
                user_files: 0,
                user_bufs: 7
            }
        );
        assert_eq!(
            kind_of("pending:\t0\ntotal:\t0\nAPI:\taa:0:80000000000001ff\n"),
            Kind::Userfaultfd {
                pending: 0,
                total: 0
            }
        );
        assert_eq!(
            kind_of(
                "drm-driver: i915\ndrm-resident-system:\t2 KiB\ndrm-resident-local0: 1 MiB\ndrm-memory-x: 9\n"
            ),
            Kind::Drm {
                driver: b"i915",
                resident: Some(Bytes((1 << 20) + 2048))
            }
        );
    }

    #[test]
    fn unknown_lines_are_kept() {
        let text = format!("{COMMON}lock:\t1: FLOCK  ADVISORY  WRITE 9 00:1f:3 0 EOF\n");
        let info = Fdinfo::parse(text.as_bytes()).unwrap();
        assert!(info.lines().any(|line| line.starts_with(b"lock:")));
        assert!(Fdinfo::parse(b"flags: 8\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fdinfo::parse(&[COMMON.as_bytes(), &bytes].concat());
        }
    }
}
