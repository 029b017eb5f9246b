//! Proportional shares (PSS), and what asking for them costs the process that is asked.
//!
//! `smaps_rollup` walks the page tables of its target with `mmap_lock` held: the target stalls at its next
//! `mmap`, and at page faults behind one. Measured on Linux 6.18: 13 ms for a GiB in 4 KiB pages, 0.08 ms in
//! huge ones. Which pages a process has is known only by that very walk, so the estimate takes all of them for
//! small: it can be too high, never too low by much.

use crate::look::Unseen;
use plimsoll_proc::process::status::Status;
use std::time::Duration;

/// What one base page costs to walk (13 ms for a GiB of 4 KiB pages).
const PER_GIB: Duration = Duration::from_millis(13);

/// What a small process costs at least: its mappings, the text (0.2 ms for each of 500).
const AT_LEAST: Duration = Duration::from_micros(200);

/// Longest stall of one process that nobody has to ask for.
pub const LIMIT: Duration = Duration::from_millis(250);

/// About how long a process would be held up.
#[must_use]
pub fn estimate(status: &Status) -> Duration {
    let Some(vm) = status.vm else {
        return Duration::ZERO;
    };
    let micros = u64::try_from(PER_GIB.as_micros()).unwrap_or(u64::MAX);
    let walk = u128::from(vm.rss.0).saturating_mul(u128::from(micros)) >> 30;
    AT_LEAST.saturating_add(Duration::from_micros(
        u64::try_from(walk).unwrap_or(u64::MAX),
    ))
}

/// Why a process's share is not asked for unless somebody insists; `None` where it may be.
#[must_use]
pub fn refusal(status: &Status) -> Option<Unseen> {
    let cost = estimate(status);
    (cost > LIMIT).then(|| Unseen {
        what: format!("the proportional share of process {}", status.pid),
        why: format!(
            "asking would stall it for up to {} ms; ask for it by its pid to have it all the same",
            cost.as_millis()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_proc::process::status::Vm;
    use plimsoll_units::Bytes;

    fn resident(mib: u64) -> Status {
        Status {
            pid: 7,
            vm: Some(Vm {
                rss: Bytes::from_mib(mib),
                ..Vm::default()
            }),
            ..Status::default()
        }
    }

    #[test]
    fn a_huge_process_is_not_stalled_by_surprise() {
        assert_eq!(estimate(&resident(1024)), Duration::from_micros(13_200));
        assert_eq!(estimate(&Status::default()), Duration::ZERO);
        assert_eq!(refusal(&resident(16 << 10)), None);
        let refusal = refusal(&resident(200 << 10)).unwrap();
        assert!(refusal.why.contains("2600 ms"), "{}", refusal.why);
        assert!(estimate(&resident(u64::MAX >> 20)) > LIMIT);
    }
}
