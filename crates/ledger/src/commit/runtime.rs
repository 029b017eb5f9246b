//! Which language runtime or allocator a process runs, as far as the files that it maps tell.
//!
//! One that is linked statically leaves no such trace and goes unnamed.

use plimsoll_proc::process::map_name::MapName;

/// A runtime that makes mappings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runtime {
    /// Reserves its heap and commits it in steps, charged.
    Jvm,
    /// node's, deno's: cages of address space, not charged.
    V8,
    /// Bun's `JavaScriptCore`.
    Jsc,
    /// .NET
    CoreClr,
    /// An allocator.
    Jemalloc,
    /// An allocator.
    Mimalloc,
    /// An allocator.
    Tcmalloc,
}

/// Beginning of the file's name, and what it is part of. `exact` names are programs, the rest libraries.
const FILES: &[(&str, bool, Runtime)] = &[
    ("libjvm.so", false, Runtime::Jvm),
    ("libjemalloc.so", false, Runtime::Jemalloc),
    ("libmimalloc.so", false, Runtime::Mimalloc),
    ("libtcmalloc", false, Runtime::Tcmalloc),
    ("libcoreclr.so", false, Runtime::CoreClr),
    ("libnode.so", false, Runtime::V8),
    ("node", true, Runtime::V8),
    ("deno", true, Runtime::V8),
    ("bun", true, Runtime::Jsc),
];

impl Runtime {
    /// The runtime that a mapped file belongs to.
    pub(super) fn of(name: &MapName<'_>) -> Option<Self> {
        let MapName::File { path, .. } = name else {
            return None;
        };
        let slash = memchr::memrchr(b'/', path)?;
        let file = path.get(slash.checked_add(1)?..)?;
        FILES.iter().find_map(|(name, exact, runtime)| {
            let name = name.as_bytes();
            let matches = if *exact {
                file == name
            } else {
                file.starts_with(name)
            };
            matches.then_some(*runtime)
        })
    }

    /// In words, with its article.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Jvm => "a Java VM",
            Self::V8 => "V8 (JavaScript)",
            Self::Jsc => "JavaScriptCore",
            Self::CoreClr => "the .NET runtime",
            Self::Jemalloc => "jemalloc",
            Self::Mimalloc => "mimalloc",
            Self::Tcmalloc => "tcmalloc",
        }
    }
}
