//! The two numbers.

use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};

/// What a workload may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// RAM: user memory, kernel memory, page cache, dentries and inodes.
    #[serde(rename = "ram_bytes")]
    pub ram: Bytes,
    /// Swap, beside RAM.
    #[serde(rename = "swap_bytes")]
    pub swap: Bytes,
}

impl Numbers {
    /// Both together.
    #[must_use]
    pub fn sum(self) -> Bytes {
        self.ram + self.swap
    }
}

/// The two numbers, and what may come with them from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The two numbers.
    pub numbers: Numbers,
    /// What is not reclaimed while there is anything else to reclaim.
    pub low: Option<Bytes>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
}

impl From<Numbers> for Asked {
    fn from(numbers: Numbers) -> Self {
        Self {
            numbers,
            low: None,
            pids_max: None,
        }
    }
}
