//! Page counts and the size of a page, which is asked of the kernel and never assumed.

use crate::Bytes;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::num::NonZeroU64;
use std::ops::Add;

/// A number of base pages. Sums saturate.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Pages(pub u64);

impl Pages {
    /// The bytes these pages take; saturates.
    #[must_use]
    pub const fn bytes(self, size: PageSize) -> Bytes {
        Bytes(self.0.saturating_mul(size.0.get()))
    }
}

impl Add for Pages {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Pages {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The size of a base page in bytes: `sysconf(_SC_PAGESIZE)` of the host that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageSize(NonZeroU64);

impl PageSize {
    /// A page size; `None` unless it is a power of two.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        match NonZeroU64::new(bytes) {
            Some(size) if bytes.is_power_of_two() => Some(Self(size)),
            _ => None,
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// How many pages it takes to hold `bytes`.
    #[must_use]
    pub const fn pages_for(self, bytes: Bytes) -> Pages {
        Pages(bytes.0.div_ceil(self.0.get()))
    }
}
