//! What the host has for a hold to stand on: the memory controller's interface, swap and what lies behind it, systemd.

use crate::HoldError;
use plimsoll_cgroup::mount::{self, Hierarchy, Version};
use plimsoll_proc::state::{State, SwapArea};
use plimsoll_proc::{Root, mountinfo, page_size};
use plimsoll_units::Bytes;

/// A host, as far as holds depend on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where memory is controlled.
    pub memory: Hierarchy,
    /// The v2 hierarchy where it counts pressure beside a v1 memory controller.
    pub beside: Option<Hierarchy>,
    /// All of RAM.
    pub ram: Bytes,
    /// Swap areas, the one that is used first before the others.
    pub swaps: Vec<SwapArea>,
    /// zswap, where it is switched on.
    pub zswap: Option<Zswap>,
    /// systemd is the first process (`sd_booted(3)`).
    pub systemd: bool,
}

/// `/sys/module/zswap/parameters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zswap {
    /// Whether it writes cold pages on to disk before its pool is full (6.8).
    pub shrinker: bool,
}

impl Host {
    /// Reads it.
    ///
    /// # Errors
    /// [`HoldError::NoController`] where memory isn't controlled, and when `/proc` can't be read.
    pub fn read(root: &Root) -> Result<Self, HoldError> {
        let state = State::read(root, page_size::read(root)?);
        let mut hierarchies = mount::memory(root)?.into_iter();
        let memory = hierarchies.next().ok_or(HoldError::NoController)?;
        let mounts = mountinfo::parse(&root.read("proc/self/mountinfo")?);
        let beside = mount::v2(&mounts).filter(|_| memory.version == Version::V1);
        let mut swaps = state.swaps.unwrap_or_default();
        swaps.sort_by_key(|area| std::cmp::Reverse(area.priority));
        let is_on = |parameter: &str| {
            let text = root.read(format!("sys/module/zswap/parameters/{parameter}"));
            text.is_ok_and(|text| text.starts_with(b"Y"))
        };
        Ok(Self {
            memory,
            beside,
            ram: state.meminfo.mem_total.unwrap_or_default(),
            swaps,
            zswap: is_on("enabled").then(|| Zswap {
                shrinker: is_on("shrinker_enabled"),
            }),
            systemd: root.open_dir("run/systemd/system").is_ok(),
        })
    }

    /// All swap areas together.
    #[must_use]
    pub fn swap(&self) -> Bytes {
        self.swaps.iter().map(|area| area.size).sum()
    }
}
