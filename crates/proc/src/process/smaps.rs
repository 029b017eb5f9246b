//! `/proc/PID/smaps`: a record for each mapping, the line of `maps` followed by its memory in kB and its
//! flags (`proc_pid_smaps(5)`, `Documentation/filesystems/proc.rst`).
//!
//! Ten thousand mappings are 7.5 MB of text, so [`stream`] holds one block of it at a time and hands out
//! each record borrowed from that block: no allocation a mapping. Reading costs the *target* too: the
//! kernel walks its page tables with `mmap_lock` held, 13 ms for a GiB in 4 KiB pages.

use super::Malformed;
use super::maps::Mapping;
use super::vm_flags::VmFlags;
use crate::text;
use crate::{Dir, ReadError};
use plimsoll_units::Bytes;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read};

/// Memory of a mapping, or of all of them (`smaps_rollup`), in bytes. What older kernels lack is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Resident.
    pub rss: Bytes,
    /// Proportional share of it: each page divided by the number of its mappings.
    pub pss: Bytes,
    /// Dirty part of `pss` (6.0).
    pub pss_dirty: Option<Bytes>,
    /// Anonymous part of `pss`; only in `smaps_rollup` (5.4).
    pub pss_anon: Option<Bytes>,
    /// File part of `pss`; only in `smaps_rollup`.
    pub pss_file: Option<Bytes>,
    /// Shared-memory part of `pss`; only in `smaps_rollup`.
    pub pss_shmem: Option<Bytes>,
    /// Mapped elsewhere too, clean.
    pub shared_clean: Bytes,
    /// Mapped elsewhere too, dirty.
    pub shared_dirty: Bytes,
    /// Mapped only here, clean.
    pub private_clean: Bytes,
    /// Mapped only here, dirty.
    pub private_dirty: Bytes,
    /// Accessed since the mark was last cleared.
    pub referenced: Bytes,
    /// Anonymous pages, copies of a private file's pages included.
    pub anonymous: Bytes,
    /// Merged by KSM (6.6).
    pub ksm: Option<Bytes>,
    /// Given back by `MADV_FREE` and not yet taken.
    pub lazy_free: Option<Bytes>,
    /// In transparent huge pages.
    pub anon_huge_pages: Bytes,
    /// Shared memory mapped huge.
    pub shmem_pmd_mapped: Option<Bytes>,
    /// File pages mapped huge.
    pub file_pmd_mapped: Option<Bytes>,
    /// hugetlb pages mapped elsewhere too.
    pub shared_hugetlb: Option<Bytes>,
    /// hugetlb pages mapped only here.
    pub private_hugetlb: Option<Bytes>,
    /// Swapped out; of shared memory, in its object.
    pub swap: Bytes,
    /// Proportional share of `swap`.
    pub swap_pss: Option<Bytes>,
    /// Locked part of `pss`.
    pub locked: Option<Bytes>,
}

impl Usage {
    /// Takes one `Key: N kB` line; false when the key is not one of these.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(bytes) = kilobytes(value) else {
            return false;
        };
        match key {
            b"Rss" => self.rss = bytes,
            b"Pss" => self.pss = bytes,
            b"Pss_Dirty" => self.pss_dirty = Some(bytes),
            b"Pss_Anon" => self.pss_anon = Some(bytes),
            b"Pss_File" => self.pss_file = Some(bytes),
            b"Pss_Shmem" => self.pss_shmem = Some(bytes),
            b"Shared_Clean" => self.shared_clean = bytes,
            b"Shared_Dirty" => self.shared_dirty = bytes,
            b"Private_Clean" => self.private_clean = bytes,
            b"Private_Dirty" => self.private_dirty = bytes,
            b"Referenced" => self.referenced = bytes,
            b"Anonymous" => self.anonymous = bytes,
            b"KSM" => self.ksm = Some(bytes),
            b"LazyFree" => self.lazy_free = Some(bytes),
            b"AnonHugePages" => self.anon_huge_pages = bytes,
            b"ShmemPmdMapped" => self.shmem_pmd_mapped = Some(bytes),
            b"FilePmdMapped" => self.file_pmd_mapped = Some(bytes),
            b"Shared_Hugetlb" => self.shared_hugetlb = Some(bytes),
            b"Private_Hugetlb" => self.private_hugetlb = Some(bytes),
            b"Swap" => self.swap = bytes,
            b"SwapPss" => self.swap_pss = Some(bytes),
            b"Locked" => self.locked = Some(bytes),
            _ => return false,
        }
        true
    }
}

/// `N kB` as bytes.
pub(crate) fn kilobytes(value: &[u8]) -> Option<Bytes> {
    let number = text::number(value.strip_suffix(b" kB")?.trim_ascii())?;
    Some(Bytes(number.saturating_mul(1024)))
}

/// One mapping with its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smap<'a> {
    /// The line of `maps`.
    pub mapping: Mapping<'a>,
    /// Its memory.
    pub usage: Usage,
    /// Size of the pages the kernel gives it.
    pub kernel_page_size: Option<Bytes>,
    /// Size of the pages the hardware maps it with.
    pub mmu_page_size: Option<Bytes>,
    /// Whether it may get transparent huge pages (5.0).
    pub thp_eligible: Option<bool>,
    /// Protection key, where the processor has them.
    pub protection_key: Option<u64>,
    /// Flags; `None` before 3.8 only.
    pub flags: Option<VmFlags>,
    /// All lines behind the first as they stand: what is not known here is kept.
    pub raw_fields: &'a [u8],
}

impl<'a> Smap<'a> {
    /// Reads one record, its first line the mapping's.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', record).unwrap_or(record.len());
        let (line, rest) = record.split_at(end);
        let raw_fields = rest.strip_prefix(b"\n").unwrap_or(rest);
        let mut smap = Self {
            mapping: Mapping::parse(line)?,
            usage: Usage::default(),
            kernel_page_size: None,
            mmu_page_size: None,
            thp_eligible: None,
            protection_key: None,
            flags: None,
            raw_fields,
        };
        for (key, value) in text::lines(raw_fields).filter_map(text::key_value) {
            if smap.usage.take(key, value) {
                continue;
            }
            match key {
                b"KernelPageSize" => smap.kernel_page_size = kilobytes(value),
                b"MMUPageSize" => smap.mmu_page_size = kilobytes(value),
                b"THPeligible" => smap.thp_eligible = text::number(value).map(|n| n != 0),
                b"ProtectionKey" => smap.protection_key = text::number(value),
                b"VmFlags" => smap.flags = Some(VmFlags::parse(value)),
                _ => {}
            }
        }
        Some(smap)
    }
}

/// All records of `smaps`, each from its mapping's line up to the next.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Result<Smap<'_>, Malformed>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (record, behind) = rest.split_at(end_of_record(rest));
        rest = behind;
        Some(Smap::parse(record).ok_or_else(|| Malformed::new("smaps", record)))
    })
}

/// Why a stream of `smaps` ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The file could not be opened.
    #[error(transparent)]
    Open(#[from] ReadError),
    /// The file could not be read on.
    #[error("cannot read smaps")]
    Read(#[source] std::io::Error),
    /// The file holds something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl StreamError {
    /// Whether the process has ended: a normal outcome, not a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Open(error) => error.is_gone(),
            Self::Read(error) => error.raw_os_error() == Some(Errno::SRCH.raw_os_error()),
            Self::Malformed(_) => false,
        }
    }
}

/// [`stream`]s the `smaps` of the process whose directory this is.
///
/// # Errors
/// As [`stream`], and when the file can't be opened.
pub fn stream_file(
    dir: &Dir<'_>,
    block: &mut Vec<u8>,
    visit: impl FnMut(&Smap<'_>),
) -> Result<(), StreamError> {
    stream(dir.stream(OsStr::new("smaps"))?, block, visit)
}

/// Reads `smaps` block by block and hands each record to `visit`. `block` is the buffer, kept by the caller
/// for the next process.
///
/// # Errors
/// When the file can't be read or parsed to its end; records before that have been visited.
pub fn stream(
    mut file: impl Read,
    block: &mut Vec<u8>,
    mut visit: impl FnMut(&Smap<'_>),
) -> Result<(), StreamError> {
    block.clear();
    loop {
        let held = block.len();
        block.resize(held.saturating_add(BLOCK), 0);
        let free = block.get_mut(held..).unwrap_or_default();
        let got = match file.read(free) {
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                block.truncate(held);
                continue;
            }
            Err(error) => return Err(StreamError::Read(error)),
        };
        block.truncate(held.saturating_add(got));
        let at_end = got == 0;
        let whole = if at_end {
            block.len()
        } else {
            start_of_last(block)
        };
        for smap in parse(block.get(..whole).unwrap_or_default()) {
            visit(&smap?);
        }
        block.drain(..whole);
        if at_end {
            return Ok(());
        }
        if block.len() > RECORD_MAX {
            return Err(Malformed::new("smaps", block).into());
        }
    }
}

/// The kernel gives at most a page a read, or a few; a record is about 800 bytes.
const BLOCK: usize = 32 << 10;

/// A name is at most a page of bytes (`PATH_MAX`), each written as up to four; the rest of a record is about 800.
const RECORD_MAX: usize = 64 << 10;

/// A mapping's line begins with a hexadecimal digit in lower case, all others with a capital. Newlines in
/// names are escaped, so no name can forge a line.
fn begins_record(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'0'..=b'9' | b'a'..=b'f'))
}

/// The length of the first record of `text`: at least one line.
fn end_of_record(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text)
        .map(|newline| newline.saturating_add(1))
        .find(|&next| text.get(next..).is_some_and(begins_record))
        .unwrap_or(text.len())
}

/// Where the last record of a block begins: it may not be whole yet.
fn start_of_last(block: &[u8]) -> usize {
    memchr::memrchr_iter(b'\n', block)
        .map(|newline| newline.saturating_add(1))
        .find(|&next| block.get(next..).is_some_and(begins_record))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::map_name::MapName;
    use crate::process::vm_flags::VmFlag;
    use proptest::prelude::*;

    const SLEEP: &[u8] = include_bytes!("../../fixtures/smaps-6.18-sleep.txt");
    const HOSTILE: &[u8] = include_bytes!("../../fixtures/smaps-6.18-hostile-names.txt");

    #[test]
    fn every_record_of_a_small_process() {
        let smaps: Vec<_> = parse(SLEEP).map(Result::unwrap).collect();
        let heap = smaps
            .iter()
            .find(|s| s.mapping.name() == MapName::Heap)
            .unwrap();
        assert!(heap.flags.unwrap().has(VmFlag::ACCOUNT));
        assert_eq!(heap.usage.rss, heap.usage.anonymous);
        assert_eq!(heap.kernel_page_size, Some(Bytes(4096)));
        assert_eq!(heap.thp_eligible, Some(false));
        for smap in &smaps {
            let size = text::lines(smap.raw_fields)
                .filter_map(text::key_value)
                .next();
            assert_eq!(
                size.map(|(_, kb)| kilobytes(kb).unwrap()),
                Some(smap.mapping.size())
            );
            assert_eq!(smap.flags.unwrap().unknown, None);
        }
        assert_eq!(
            smaps.len(),
            SLEEP.windows(8).filter(|w| w == b"VmFlags:").count()
        );
    }

    #[test]
    fn hostile_names_forge_nothing() {
        let smaps: Vec<_> = parse(HOSTILE).map(Result::unwrap).collect();
        let names: Vec<_> = smaps.iter().map(|s| s.mapping.name()).collect();
        assert!(
            names
                .iter()
                .any(|n| matches!(n, MapName::File { path, .. } if path.ends_with(b"/SYSVx")))
        );
        assert!(
            names
                .iter()
                .any(|n| matches!(n, MapName::File { path, .. } if path.contains(&0xff)))
        );
        assert!(names.contains(&MapName::Memfd(b"7f00-7f01 rw-p")));
    }

    #[test]
    fn a_stream_gives_the_same_whatever_the_size_of_its_reads() {
        for size in [1, 7, 100, 799, 4096, usize::MAX] {
            let mut seen = Vec::new();
            let mut block = Vec::new();
            let trickle = Trickle { text: SLEEP, size };
            stream(trickle, &mut block, |s| {
                seen.push((s.mapping.range(), s.usage, s.flags))
            })
            .unwrap();
            let whole: Vec<_> = parse(SLEEP)
                .map(|s| s.map(|s| (s.mapping.range(), s.usage, s.flags)).unwrap())
                .collect();
            assert_eq!(seen, whole, "reads of {size}");
        }
    }

    struct Trickle<'a> {
        text: &'a [u8],
        size: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let size = self.size.min(into.len()).min(self.text.len());
            let (now, later) = self.text.split_at(size);
            into[..size].copy_from_slice(now);
            self.text = later;
            Ok(size)
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes).count();
            let _ = stream(bytes.as_slice(), &mut Vec::new(), |_| {});
        }

        #[test]
        fn lines_in_any_order_are_survived(
            picks in proptest::collection::vec(0..500usize, 0..60)
        ) {
            let lines: Vec<_> = text::lines(SLEEP).collect();
            let text = picks.iter().filter_map(|&i| lines.get(i).copied()).collect::<Vec<_>>().join(&b'\n');
            let mut streamed = 0;
            let result = stream(text.as_slice(), &mut Vec::new(), |_| streamed += 1);
            let whole = parse(&text).take_while(Result::is_ok).count();
            prop_assert_eq!((streamed, result.is_ok()), (whole, parse(&text).all(|s| s.is_ok())));
        }
    }
}
