//! The setting that closes the band: as many bytes as can be delivered, with room for the kernel to grow.
//!
//! In bytes (`vm.overcommit_kbytes`), not as a ratio: a ratio is of all RAM, of which the kernel's part is no ratio. Setting either
//! clears the other (`overcommit_kbytes_handler`), which the undo command takes into account.

use super::{Overcommit, all_swap, ram};
use plimsoll_ledger::look::{Look, Policy};
use plimsoll_proc::state::State;
use plimsoll_units::Bytes;
use serde::Serialize;

/// So much of RAM (1/16) is left: the kernel's own memory grows (a busier network, more mappings, more open files), and free pages on per-CPU
/// lists are not given back before the OOM killer fires where nothing is left to reclaim (`__alloc_pages_direct_reclaim` drains them only
/// after progress): 5 % of RAM in a guest of 1 GiB.
const ROOM_FOR_KERNEL: u64 = 16;

/// A setting, its price, and how to take it back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// For `vm.overcommit_kbytes`, in bytes. Swap comes on top.
    pub overcommit_bytes: Bytes,
    /// `CommitLimit` with it.
    pub limit_bytes: Bytes,
    /// As a command.
    pub command: String,
    /// What puts back what was set before.
    pub undo: String,
    /// So much less can be promised.
    pub price_bytes: Bytes,
    /// More is committed already: set now, every further request would be refused until that much is given back.
    pub over_by_bytes: Bytes,
}

/// `None` where all that can be promised can be delivered.
pub(super) fn of(overcommit: &Overcommit, look: &Look, state: &State) -> Option<Advice> {
    if overcommit.band_bytes <= 0 && overcommit.policy == Policy::Strict {
        return None;
    }
    let room = Bytes(ram(look).get() / ROOM_FOR_KERNEL);
    let limit = overcommit.deliverable_bytes - room;
    let kbytes = (limit - all_swap(state)).get() >> 10;
    let limit = Bytes::from_kib(kbytes) + all_swap(state);
    Some(Advice {
        overcommit_bytes: Bytes::from_kib(kbytes),
        limit_bytes: limit,
        command: format!("sysctl vm.overcommit_kbytes={kbytes} vm.overcommit_memory=2"),
        undo: undo(state),
        price_bytes: overcommit.promised_bytes - limit,
        over_by_bytes: overcommit.committed_bytes - limit,
    })
}

fn undo(state: &State) -> String {
    let settings = &state.settings;
    let mode = settings.overcommit_memory.unwrap_or(0);
    format!(
        "sysctl vm.overcommit_memory={mode} {}",
        super::setting(state)
    )
}
