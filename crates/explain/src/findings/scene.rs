//! What rules are given: a host as it is, and as it was where two looks were taken.

use super::{Evidence, NotSeen};
use plimsoll_ledger::look::{Look, Owner};
use plimsoll_proc::found::Found;
use plimsoll_proc::state::State;
use plimsoll_units::Bytes;

/// One look at a host, with what the account leaves out.
#[derive(Debug, Clone)]
pub struct Account {
    /// The account.
    pub look: Look,
    /// What pipes, sockets and deleted files hold; `None` where nobody could look.
    pub found: Option<Found>,
    /// Settings, pressure, free blocks, mounts.
    pub state: State,
}

/// An earlier look at the same host.
#[derive(Debug)]
pub struct Before {
    /// The host as it was.
    pub account: Account,
    /// How long ago, in seconds; above 0.
    pub seconds: f64,
}

/// What is explained.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The host as it is.
    pub now: &'a Account,
    /// As it was.
    pub before: Option<&'a Before>,
}

/// Less than this part of RAM available (percent): memory is short. The kernel's own watermarks are a tenth of that and less;
/// this leaves minutes, not seconds, at the rates that programs grow with.
const SHORT_PERCENT: u64 = 10;

/// Tasks waited for memory for so many percent of the last 10 seconds: memory is short.
const STALLED_PERCENT: f64 = 10.0;

impl<'a> Scene<'a> {
    /// All of RAM.
    pub(super) fn ram(&self) -> Bytes {
        self.now.look.host.total_bytes
    }

    /// So many percent of RAM.
    pub(super) fn percent_of_ram(&self, percent: u64) -> Bytes {
        percent_of(self.ram(), percent)
    }

    /// An owner of the account; `None` where it holds nothing.
    pub(super) fn owner(&self, id: &str) -> Option<&'a Owner> {
        let owners = &self.now.look.host.owners;
        owners
            .iter()
            .find(|owner| owner.id == id && owner.bytes > Bytes::ZERO)
    }

    /// What an owner holds.
    pub(super) fn held(&self, id: &str) -> Bytes {
        self.owner(id).map(|owner| owner.bytes).unwrap_or_default()
    }

    /// The earlier look.
    pub(super) fn earlier(&self) -> Result<&'a Before, NotSeen> {
        self.before.ok_or(NotSeen("two looks; --since takes two"))
    }

    /// Why memory is short; `None` where it is not.
    pub(super) fn short(&self) -> Option<Evidence> {
        let state = &self.now.state;
        let available = state.meminfo.mem_available;
        if let Some(available) = available.filter(|left| *left < self.percent_of_ram(SHORT_PERCENT))
        {
            return Some(Evidence::bytes("/proc/meminfo", "MemAvailable", available));
        }
        let stalled = state.pressure?.some.avg10;
        (stalled >= STALLED_PERCENT).then(|| {
            Evidence::text(
                "/proc/pressure/memory",
                "some avg10",
                format_args!("{stalled} %"),
            )
        })
    }

    /// `MemTotal`, as the measure of other figures.
    pub(super) fn ram_evidence(&self) -> Evidence {
        Evidence::bytes("/proc/meminfo", "MemTotal", self.ram())
    }
}

/// So many percent.
pub(super) fn percent_of(bytes: Bytes, percent: u64) -> Bytes {
    Bytes(bytes.get() / 100 * percent)
}
