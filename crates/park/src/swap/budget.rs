//! How much swap a tree can really use, and how much memory that frees.
//!
//! A page in zram is memory again, only smaller. So zram counts for what it saves, by what it has made so far of the pages it
//! holds; one that holds nothing yet has nothing to show, and is not counted on. And a group may be allowed less
//! swap than the host has.

use crate::ParkError;
use crate::memory_group::MemoryGroup;
use plimsoll_proc::Root;
use plimsoll_proc::swaps;
use plimsoll_proc::zram::MmStat;
use plimsoll_units::Bytes;
use std::collections::BTreeSet;
use std::fmt;

/// Swap that is free for a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// On disks.
    pub disk: Bytes,
    /// In zram, as pages.
    pub zram: Bytes,
    /// The memory that is free once that zram is full of pages.
    pub zram_saves: Bytes,
    /// What the control groups of the tree may still swap, where that is limited.
    pub group: Option<Bytes>,
}

/// Less than this says nothing of what a zram will make of other pages.
const TELLING: Bytes = Bytes::from_mib(1);

impl Budget {
    /// That of these processes.
    ///
    /// # Errors
    /// When `/proc/swaps` can't be read.
    pub fn read(root: &Root, pids: impl IntoIterator<Item = u32>) -> Result<Self, ParkError> {
        let text = root.read("proc/swaps")?;
        let mut budget = Self::default();
        for area in swaps::parse(&text) {
            let free = area.size - area.used;
            match area.path.strip_prefix(b"/dev/zram") {
                None => budget.disk += free,
                Some(number) => {
                    let number = String::from_utf8_lossy(number);
                    let stat = root.read(format!("sys/block/zram{number}/mm_stat"));
                    let stat = stat.ok().and_then(|text| MmStat::parse(&text));
                    budget.add_zram(free, stat.unwrap_or_default());
                }
            }
        }
        let groups: BTreeSet<MemoryGroup> = pids
            .into_iter()
            .filter_map(|pid| MemoryGroup::of(root, pid))
            .collect();
        budget.group = groups.iter().filter_map(MemoryGroup::swap_left).min();
        Ok(budget)
    }

    fn add_zram(&mut self, free: Bytes, stat: MmStat) {
        let (stored, takes) = (stat.original_size, stat.used);
        // As many pages as its limit lets it take more of them.
        let fits = match stat.limit {
            Some(limit) if limit > Bytes::ZERO => scale(limit - takes, stored, takes).min(free),
            _ => free,
        };
        self.zram += fits;
        if stored >= TELLING {
            self.zram_saves += fits - scale(fits, takes, stored);
        }
    }

    /// Pages that can leave for swap.
    #[must_use]
    pub fn holds(&self) -> Bytes {
        self.group.map_or(self.disk + self.zram, |most| {
            most.min(self.disk + self.zram)
        })
    }

    /// The memory that is free then: what `auto` counts on.
    #[must_use]
    pub fn saves(&self) -> Bytes {
        let all = self.disk + self.zram_saves;
        self.group.map_or(all, |most| most.min(all))
    }
}

/// `bytes * part / whole`; all of them where there is no whole.
fn scale(bytes: Bytes, part: Bytes, whole: Bytes) -> Bytes {
    let scaled = u128::from(bytes.get()) * u128::from(part.get());
    match scaled.checked_div(u128::from(whole.get())) {
        Some(scaled) => Bytes(u64::try_from(scaled).unwrap_or(u64::MAX)),
        None => bytes,
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of swap are free", self.disk + self.zram)?;
        if self.zram > Bytes::ZERO {
            write!(
                f,
                ", {} of them in zram, which would save {}",
                self.zram, self.zram_saves
            )?;
        }
        match self.group {
            Some(most) if most < self.disk + self.zram => {
                write!(f, "; its control group may use {most} (memory.swap.max)")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zram(free: u64, stored: u64, takes: u64, limit: u64) -> Budget {
        let mut budget = Budget {
            disk: Bytes(1000),
            ..Budget::default()
        };
        let stat = MmStat {
            original_size: Bytes(stored),
            compressed_size: Bytes(takes),
            used: Bytes(takes),
            limit: Some(Bytes(limit)),
        };
        budget.add_zram(Bytes(free), stat);
        budget
    }

    #[test]
    fn zram_counts_for_what_it_saves() {
        const M: u64 = 1 << 20;
        let third = zram(9 * M, 3 * M, M, 0);
        assert_eq!(third.holds(), Bytes(1000 + 9 * M));
        assert_eq!(third.saves(), Bytes(1000 + 6 * M));
        let limited = zram(9 * M, 3 * M, M, 2 * M);
        assert_eq!(
            limited.holds(),
            Bytes(1000 + 3 * M),
            "a third of it fits in what is left"
        );
        let empty = zram(9 * M, 0, 0, 0);
        assert_eq!(empty.holds(), Bytes(1000 + 9 * M));
        assert_eq!(empty.saves(), Bytes(1000), "it has nothing to show yet");
        let worse = zram(9 * M, 2 * M, 3 * M, 0);
        assert_eq!(worse.saves(), Bytes(1000), "it takes more than it holds");
    }

    #[test]
    fn a_group_may_have_less() {
        let budget = Budget {
            disk: Bytes::from_mib(100),
            group: Some(Bytes::from_mib(7)),
            ..Budget::default()
        };
        assert_eq!(budget.holds(), Bytes::from_mib(7));
        assert_eq!(
            budget.to_string(),
            "100 MiB of swap are free; its control group may use 7.00 MiB (memory.swap.max)"
        );
    }
}
