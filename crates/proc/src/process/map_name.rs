//! The last column of `maps`: the kernel's own names told from those of files.
//!
//! The text alone can't always decide, because any file may be called what the kernel calls its objects:
//! `/SYSV00000000 (deleted)` may be a SysV segment or a file of that name in the root of a file system, and
//! ` (deleted)` may be part of a name. What the kernel makes itself lies on a device with major number 0
//! and is always deleted; [`MapName`] says what the name means where nobody lies, and whoever counts with
//! it groups by device and inode, so that a liar only misnames its own memory.

use crate::text;
use std::borrow::Cow;

/// What a mapping's name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapName<'a> {
    /// No name: private anonymous memory.
    Anonymous,
    /// `[heap]`: between `start_brk` and `brk`.
    Heap,
    /// `[stack]`: of the main thread.
    Stack,
    /// `[vdso]`
    Vdso,
    /// `[vvar]` and `[vvar_vclock]`: what the vdso reads.
    Vvar,
    /// `[vsyscall]`: at a fixed address, in no process's memory.
    Vsyscall,
    /// `[anon:NAME]`: private anonymous, named by `prctl(PR_SET_VMA)`.
    AnonNamed(&'a [u8]),
    /// `[anon_shmem:NAME]`: shared anonymous, named the same way.
    AnonShmemNamed(&'a [u8]),
    /// `[uprobes]`, and whatever else a kernel puts into brackets.
    Special(&'a [u8]),
    /// `/SYSVKEY (deleted)`: a SysV segment; the inode number is its shmid.
    SysV {
        /// The key given to `shmget(2)`; 0 is `IPC_PRIVATE`.
        key: u32,
    },
    /// `/memfd:NAME (deleted)`
    Memfd(&'a [u8]),
    /// `/secretmem (deleted)`: `memfd_secret(2)`, readable by nobody else.
    SecretMem,
    /// `/dev/zero (deleted)`: shared anonymous memory.
    SharedAnonymous,
    /// `/anon_hugepage (deleted)`: anonymous memory in hugetlb pages.
    AnonHugetlb,
    /// `anon_inode:NAME` and `socket:[…]`: rings and buffers of a descriptor (`io_uring`, perf, packets).
    Descriptor(&'a [u8]),
    /// A file's path. Raw: see [`unescape`].
    File {
        /// The path, without the mark of deletion.
        path: &'a [u8],
        /// ` (deleted)` stood behind it.
        deleted: bool,
    },
}

const DELETED: &[u8] = b" (deleted)";

impl<'a> MapName<'a> {
    /// Reads the last column of a line of `maps`.
    #[must_use]
    pub fn parse(name: &'a [u8]) -> Self {
        if let Some(inner) = bracketed(name) {
            return Self::in_brackets(inner);
        }
        match name.strip_suffix(DELETED) {
            _ if name.is_empty() => Self::Anonymous,
            _ if name.starts_with(b"anon_inode:") || name.starts_with(b"socket:[") => {
                Self::Descriptor(name)
            }
            Some(path) => Self::deleted(path),
            None => Self::File {
                path: name,
                deleted: false,
            },
        }
    }

    fn in_brackets(inner: &'a [u8]) -> Self {
        if let Some(name) = inner.strip_prefix(b"anon:") {
            return Self::AnonNamed(name);
        }
        if let Some(name) = inner.strip_prefix(b"anon_shmem:") {
            return Self::AnonShmemNamed(name);
        }
        match inner {
            b"heap" => Self::Heap,
            b"stack" => Self::Stack,
            b"vdso" => Self::Vdso,
            b"vvar" | b"vvar_vclock" => Self::Vvar,
            b"vsyscall" => Self::Vsyscall,
            _ => Self::Special(inner),
        }
    }

    fn deleted(path: &'a [u8]) -> Self {
        if let Some(name) = path.strip_prefix(b"/memfd:") {
            return Self::Memfd(name);
        }
        if let Some(key) = path.strip_prefix(b"/SYSV")
            && key.len() == 8
            && let Some(key) = text::hex(key).and_then(|key| u32::try_from(key).ok())
        {
            return Self::SysV { key };
        }
        match path {
            b"/dev/zero" => Self::SharedAnonymous,
            b"/secretmem" => Self::SecretMem,
            b"/anon_hugepage" => Self::AnonHugetlb,
            _ => Self::File {
                path,
                deleted: true,
            },
        }
    }
}

fn bracketed(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"[")?.strip_suffix(b"]")
}

/// The name with `\012` made a newline again, the only byte that the kernel escapes here. A name that holds
/// these four characters itself comes out wrong; the kernel does not let them be told apart.
#[must_use]
pub fn unescape(name: &[u8]) -> Cow<'_, [u8]> {
    const NEWLINE: &[u8] = b"\\012";
    let finder = memchr::memmem::Finder::new(NEWLINE);
    let mut rest = name;
    let mut plain = Vec::new();
    while let Some(at) = finder.find(rest) {
        let (before, found) = rest.split_at(at);
        plain.extend_from_slice(before);
        plain.push(b'\n');
        rest = found.strip_prefix(NEWLINE).unwrap_or_default();
    }
    if plain.is_empty() {
        return Cow::Borrowed(name);
    }
    plain.extend_from_slice(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_kernel_and_of_files() {
        let file = |path, deleted| MapName::File { path, deleted };
        let table: &[(&[u8], MapName<'_>)] = &[
            (b"", MapName::Anonymous),
            (b"[heap]", MapName::Heap),
            (b"[stack]", MapName::Stack),
            (b"[vvar_vclock]", MapName::Vvar),
            (b"[uprobes]", MapName::Special(b"uprobes")),
            (b"[anon:a b:]]", MapName::AnonNamed(b"a b:]")),
            (b"[anon_shmem:x]", MapName::AnonShmemNamed(b"x")),
            (b"/SYSV00000000 (deleted)", MapName::SysV { key: 0 }),
            (
                b"/SYSVdeadbeef (deleted)",
                MapName::SysV { key: 0xdead_beef },
            ),
            (b"/SYSVx", file(b"/SYSVx", false)),
            (b"/SYSVx (deleted)", file(b"/SYSVx", true)),
            (b"/SYSV (deleted)", file(b"/SYSV", true)),
            (b"/SYSV000000000 (deleted)", file(b"/SYSV000000000", true)),
            (b"/memfd:a (deleted)", MapName::Memfd(b"a")),
            (
                b"/memfd: (deleted) (deleted)",
                MapName::Memfd(b" (deleted)"),
            ),
            (b"/dev/zero (deleted)", MapName::SharedAnonymous),
            (b"/dev/zero", file(b"/dev/zero", false)),
            (b"/secretmem (deleted)", MapName::SecretMem),
            (
                b"anon_inode:[io_uring]",
                MapName::Descriptor(b"anon_inode:[io_uring]"),
            ),
            (b"socket:[29423]", MapName::Descriptor(b"socket:[29423]")),
            (b"/x (deleted) (deleted)", file(b"/x (deleted)", true)),
            (b"\xff\xfe", file(b"\xff\xfe", false)),
        ];
        for (raw, meant) in table {
            assert_eq!(MapName::parse(raw), *meant, "{}", text::printable(raw));
        }
    }

    #[test]
    fn newlines_come_back() {
        assert_eq!(*unescape(b"/a\\012b\\012"), *b"/a\nb\n");
        assert_eq!(*unescape(b"\\012"), *b"\n");
        assert_eq!(*unescape(b"/plain\\01"), *b"/plain\\01");
    }
}
