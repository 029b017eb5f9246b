//! The shapes that cgroup files come in: one value, flat keyed (`anon 4096`), and lists of processes.
//!
//! `Documentation/admin-guide/cgroup-v2.rst`, "Format"; v1 uses the same shapes.

use crate::Error;
use plimsoll_proc::Dir;
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::text::{lines, number, words};
use plimsoll_units::{Bytes, Limit};
use std::ffi::OsStr;

/// Something that a cgroup file holds.
pub trait Format: Sized {
    /// From the whole text of a file; `None` when it has another shape.
    fn parse(text: &[u8]) -> Option<Self>;
}

/// Reads the file `name` of a group; `None` where there is none: this kernel lacks it, its controller is
/// not enabled, it does not exist in the root group, or the group is gone.
///
/// # Errors
/// When the kernel refuses, and when the file has another shape.
pub fn read<T: Format>(group: &Dir<'_>, name: &str) -> Result<Option<T>, Error> {
    let mut text = Vec::new();
    match group.read_into(OsStr::new(name), &mut text) {
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error.into()),
        Ok(()) => T::parse(&text).map(Some).ok_or_else(|| Error::Malformed {
            path: group.path().join(name),
        }),
    }
}

impl Format for u64 {
    fn parse(text: &[u8]) -> Option<Self> {
        number(text.trim_ascii())
    }
}

impl Format for Bytes {
    fn parse(text: &[u8]) -> Option<Self> {
        u64::parse(text).map(Self)
    }
}

impl Format for Pressure {
    fn parse(text: &[u8]) -> Option<Self> {
        Self::parse(text)
    }
}

impl Format for bool {
    fn parse(text: &[u8]) -> Option<Self> {
        match text.trim_ascii() {
            b"0" => Some(false),
            b"1" => Some(true),
            _ => None,
        }
    }
}

/// From here on a number is v1's way to say that nothing is limited.
///
/// The kernel shows `PAGE_COUNTER_MAX`, which is `LONG_MAX` rounded down to whole pages
/// (`include/linux/page_counter.h`), and before 3.19 `LLONG_MAX` or `ULLONG_MAX`. With any page size up to
/// 256 KiB, the largest of any port, these lie in the last 256 KiB below `LONG_MAX` or above, where no
/// limit can have been meant; so the page size of the host that was captured need not be known.
const UNLIMITED: u64 = (1 << 63) - (256 << 10);

impl Format for Limit {
    fn parse(text: &[u8]) -> Option<Self> {
        match text.trim_ascii() {
            b"max" => Some(Self::Max),
            other => number(other).map(limit),
        }
    }
}

/// The limit that a number stands for.
pub(crate) const fn limit(bytes: u64) -> Limit {
    match bytes {
        UNLIMITED.. => Limit::Max,
        bytes => Limit::Bytes(Bytes(bytes)),
    }
}

/// A flat keyed file (`memory.stat`, `memory.events`, `cgroup.stat`, …): every line is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatKeyed {
    text: Box<[u8]>,
}

impl FlatKeyed {
    /// The value of a key; `None` where the kernel does not show it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<u64> {
        let (_, value) = self.iter().find(|&(name, _)| name == key.as_bytes())?;
        Some(value)
    }

    /// All keys with a number, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        lines(&self.text).filter_map(pair)
    }
}

fn pair(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut words = words(line);
    let pair = (words.next()?, number(words.next()?)?);
    words.next().is_none().then_some(pair)
}

impl Format for FlatKeyed {
    fn parse(text: &[u8]) -> Option<Self> {
        let keyed = Self { text: text.into() };
        (text.is_empty() || keyed.iter().next().is_some()).then_some(keyed)
    }
}

/// `cgroup.procs`, or v1's `tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pids {
    /// In ascending order, each once.
    pub seen: Vec<u32>,
    /// How many more there are that have no id in our pid namespace.
    pub outside: u64,
}

impl Format for Pids {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut pids = Self::default();
        for line in lines(text) {
            match u32::try_from(number(line.trim_ascii())?).ok()? {
                0 => pids.outside = pids.outside.saturating_add(1),
                pid => pids.seen.push(pid),
            }
        }
        // v1: "not guaranteed to be sorted or free of duplicates".
        pids.seen.sort_unstable();
        pids.seen.dedup();
        Some(pids)
    }
}

/// The words of a file such as `cgroup.controllers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub Vec<Vec<u8>>);

impl Words {
    /// Whether the word is among them.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|w| w == word.as_bytes())
    }
}

impl Format for Words {
    fn parse(text: &[u8]) -> Option<Self> {
        let words = lines(text).flat_map(words).map(<[u8]>::to_vec);
        Some(Self(words.collect()))
    }
}

/// Makes one reading method for each file of a group.
macro_rules! files {
    ($files:ident { $($(#[$doc:meta])* $name:ident: $format:ty = $file:literal,)* }) => {
        impl $files<'_> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As [`format::read`](crate::format::read); a file that is not there is `None`.
                pub fn $name(&self) -> Result<Option<$format>, crate::Error> {
                    crate::format::read(self.0, $file)
                }
            )*
        }
    };
}

/// Makes one method for each key of a flat keyed file that is known to hold bytes.
macro_rules! byte_keys {
    ($keyed:ident { $($(#[$doc:meta])* $name:ident = $key:literal,)* }) => {
        impl $keyed {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> Option<plimsoll_units::Bytes> {
                    self.all.get($key).map(plimsoll_units::Bytes)
                }
            )*
        }
    };
}

pub(crate) use {byte_keys, files};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_values() {
        assert_eq!(Bytes::parse(b"4096\n"), Some(Bytes(4096)));
        assert_eq!(bool::parse(b"1\n"), Some(true));
        for text in [&b""[..], b"\n", b"-1\n", b"4096 kB\n", b"1\n2\n"] {
            assert_eq!(u64::parse(text), None, "{text:?}");
        }
        assert_eq!(bool::parse(b"2\n"), None);
    }

    #[test]
    fn no_limit_has_many_faces() {
        for text in [
            "max\n",
            "9223372036854771712\n", // 4 KiB pages
            "9223372036854710272\n", // 64 KiB pages
            "9223372036854775807\n",
            "18446744073709551615\n",
        ] {
            assert_eq!(Limit::parse(text.as_bytes()), Some(Limit::Max), "{text}");
        }
        assert_eq!(Limit::parse(b"0\n"), Some(Limit::Bytes(Bytes::ZERO)));
        let exbibytes_4 = Limit::parse(b"4611686018427387904\n");
        assert_eq!(exbibytes_4, Some(Limit::Bytes(Bytes(1 << 62))));
        assert_eq!(Limit::parse(b"maximum\n"), None);
    }

    #[test]
    fn processes_of_a_v1_group_come_unsorted_and_twice() {
        let pids = Pids::parse(b"7\n3\n7\n0\n0\n").unwrap();
        assert_eq!((pids.seen, pids.outside), (vec![3, 7], 2));
        assert_eq!(Pids::parse(b""), Some(Pids::default()));
        assert_eq!(Pids::parse(b"7\nseven\n"), None);
        assert_eq!(Pids::parse(b"4294967296\n"), None);
    }

    #[test]
    fn flat_keyed_files_keep_what_is_unknown_and_refuse_another_shape() {
        let keyed = FlatKeyed::parse(b"anon 1\nbrand_new 2\nnested a=1\n").unwrap();
        assert_eq!(
            (keyed.get("anon"), keyed.get("brand_new")),
            (Some(1), Some(2))
        );
        assert_eq!((keyed.get("nested"), keyed.get("file")), (None, None));
        assert_eq!(FlatKeyed::parse(b"some avg10=0.00 total=0\n"), None);
        assert_eq!(FlatKeyed::parse(b""), Some(FlatKeyed::default()));
    }

    proptest! {
        #[test]
        fn any_flat_keyed_file_is_read_back(
            entries in proptest::collection::btree_map("[a-z_]{1,20}", any::<u64>(), 1..60),
        ) {
            let text: String = entries.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
            let keyed = FlatKeyed::parse(text.as_bytes()).unwrap();
            for (key, value) in &entries {
                prop_assert_eq!(keyed.get(key), Some(*value));
            }
            prop_assert_eq!(keyed.iter().count(), entries.len());
        }

        #[test]
        fn any_limit_is_read_back(bytes in 0..UNLIMITED) {
            let read = Limit::parse(format!("{bytes}\n").as_bytes());
            prop_assert_eq!(read, Some(Limit::Bytes(Bytes(bytes))));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Limit::parse(&text), bool::parse(&text), Pids::parse(&text), Words::parse(&text));
            if let Some(keyed) = FlatKeyed::parse(&text) {
                keyed.iter().for_each(drop);
            }
        }
    }
}
