//! How often a group met its limits, as the kernel counts it: `memory.events` of v2 (`high`, `max`), v1's `memory.failcnt` and, where
//! swap is accounted for, `memory.memsw.failcnt`.

use super::number::{first_number, keyed};
use plimsoll_cgroup::mount::Version;
use plimsoll_proc::kernel_text;
use rustix::fd::OwnedFd;

/// The files, open.
#[derive(Debug)]
pub(super) enum Hits {
    V2(OwnedFd),
    V1 {
        ram: OwnedFd,
        ram_and_swap: Option<OwnedFd>,
    },
}

impl Hits {
    /// Those of a group; `None` where memory is not counted for it.
    pub(super) fn open(group: &OwnedFd, version: Version) -> Option<Self> {
        let open = |name| kernel_text::open(Some(group), name).ok();
        Some(match version {
            Version::V2 => Self::V2(open(c"memory.events")?),
            Version::V1 => Self::V1 {
                ram: open(c"memory.failcnt")?,
                ram_and_swap: open(c"memory.memsw.failcnt"),
            },
        })
    }

    /// The count since the group was made; `None` when it is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Option<u64> {
        match self {
            Self::V2(events) => {
                let high = keyed(events, b"high", buffer)?;
                Some(high.saturating_add(keyed(events, b"max", buffer)?))
            }
            Self::V1 { ram, ram_and_swap } => {
                let both = ram_and_swap
                    .as_ref()
                    .and_then(|file| first_number(file, buffer));
                Some(first_number(ram, buffer)?.saturating_add(both.unwrap_or(0)))
            }
        }
    }
}
