//! What each kind of mapping does to `Committed_AS` (docs/design, "the commit account"): a puppet makes it
//! step by step, and [`quiet`](super::quiet) holds each step against the kernel.

use plimsoll_proc::process::vm_flags::VmFlag;

/// One kind of mapping; each is 64 MiB.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// An order to the puppet, how many MiB `Committed_AS` has grown by since the case began, and
    /// the flags that the mapping then has; empty where they say nothing.
    pub(super) steps: &'static [(&'static str, i64, &'static str)],
    /// By how many MiB the recount is known to be too high.
    pub(super) recount_over: i64,
}

/// The flags that the table speaks of.
pub(super) const SHOWN: &[(&str, VmFlag)] = &[
    ("ac", VmFlag::ACCOUNT),
    ("nr", VmFlag::NORESERVE),
    ("ht", VmFlag::HUGETLB),
];

const fn case(name: &'static str, steps: &'static [(&'static str, i64, &'static str)]) -> Case {
    Case {
        name,
        steps,
        recount_over: 0,
    }
}

pub(super) const CASES: &[Case] = &[
    case(
        "private, written",
        &[("map rw private anon", 64, "ac"), ("touch", 64, "ac")],
    ),
    case("brk", &[("brk", 64, "")]),
    case("grows down", &[("map rw private anon growsdown", 64, "ac")]),
    case("/dev/zero private", &[("map rw private zero", 64, "ac")]),
    case(
        "none, made writable, written, given back",
        &[
            ("map none private anon", 0, ""),
            ("protect rw", 64, "ac"),
            ("touch", 64, "ac"),
            ("protect none", 64, "ac"),
            ("dontneed", 64, "ac"),
        ],
    ),
    case(
        "written, made read-only",
        &[
            ("map rw private anon", 64, "ac"),
            ("touch", 64, "ac"),
            ("protect r", 64, "ac"),
        ],
    ),
    case(
        "read-only, writable, never written, read-only",
        &[
            ("map r private anon", 0, ""),
            ("protect rw", 64, "ac"),
            ("protect r", 0, ""),
        ],
    ),
    case(
        "none without reserve, made writable, written",
        &[
            ("map none private anon noreserve", 0, "nr"),
            ("protect rw", 0, "nr"),
            ("touch", 0, "nr"),
        ],
    ),
    case(
        "private without reserve",
        &[
            ("map rw private anon noreserve", 0, "nr"),
            ("touch", 0, "nr"),
        ],
    ),
    case(
        "the child's copy of it",
        &[
            ("map rw private anon noreserve", 0, "nr"),
            ("touch", 0, "nr"),
            ("fork-write", 0, ""),
        ],
    ),
    case(
        "private file",
        &[("map rw private file", 64, "ac"), ("touch", 64, "ac")],
    ),
    case(
        "private file without reserve, all copied",
        &[
            ("map rw private file noreserve", 0, "nr"),
            ("touch", 0, "nr"),
        ],
    ),
    case("shared file", &[("map rw shared file", 0, "")]),
    case(
        "shared",
        &[
            ("map rw shared anon", 64, ""),
            ("sparse", 64, ""),
            ("touch", 64, ""),
        ],
    ),
    case(
        "/dev/zero shared",
        &[("map rw shared zero", 64, ""), ("sparse", 64, "")],
    ),
    case(
        "SysV",
        &[("sysv", 64, ""), ("sparse", 64, ""), ("touch", 64, "")],
    ),
    case(
        "shared without reserve",
        &[
            ("map rw shared anon noreserve", 0, "nr"),
            ("sparse", 1, "nr"),
        ],
    ),
    Case {
        name: "SysV without reserve",
        steps: &[("sysv noreserve", 0, "")],
        // No file tells that it was made so; as it is touched the error goes.
        recount_over: 64,
    },
    case(
        "memfd",
        &[
            ("map rw shared memfd", 0, ""),
            ("sparse", 1, ""),
            ("touch", 64, ""),
        ],
    ),
    case(
        "tmpfs file",
        &[("map rw shared tmpfs", 0, ""), ("sparse", 1, "")],
    ),
    case("private of a memfd", &[("map rw private memfd", 64, "ac")]),
    case(
        "hugetlb",
        &[("map rw private anon hugetlb noreserve", 0, "nr ht")],
    ),
    case(
        "grown",
        &[("map rw private anon", 64, "ac"), ("grow", 128, "ac")],
    ),
    case(
        "grown without reserve",
        &[
            ("map rw private anon noreserve", 0, "nr"),
            ("grow", 0, "nr"),
        ],
    ),
    case(
        "moved, its source kept, then dropped",
        &[
            ("map rw private anon", 64, "ac"),
            ("touch", 64, "ac"),
            ("move", 128, "ac"),
            ("drop-source", 64, "ac"),
        ],
    ),
    case(
        "forked",
        &[("map rw private anon", 64, "ac"), ("fork", 128, "")],
    ),
    case(
        "half of it replaced without reserve",
        &[("map rw private anon", 64, "ac"), ("over-half", 32, "")],
    ),
];
