//! The three states of a host under strict overcommit, with its own numbers.
//!
//! The kernel promises up to `CommitLimit` (`vm_commit_limit` in `mm/util.c`) and can deliver what of RAM it neither holds for itself
//! nor must keep, and swap. Below the smaller of the two every promise is kept. Above `CommitLimit` requests are refused. Where more is promised
//! than can be delivered there is a band between: requests are granted, and the OOM killer fires when they are used. The types are the
//! document, schema `plimsoll.explain-overcommit/1` (`docs/explain-json.md`).

mod advice;
mod delivery;
mod refused;

pub use advice::Advice;
pub use refused::{Refused, Want};

use crate::findings::Account;
use plimsoll_ledger::look::{Look, Policy};
use plimsoll_proc::state::State;
use plimsoll_units::Bytes;
use serde::Serialize;

/// The name of this schema.
pub const SCHEMA: &str = "plimsoll.explain-overcommit/1";

/// What a host has promised, what it can deliver, and what lies between.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overcommit {
    /// Always `plimsoll.explain-overcommit/1`.
    pub schema: &'static str,
    /// The policy in force; the other figures are those of strict overcommit, whether it is in force or not.
    pub policy: Policy,
    /// `CommitLimit`: what can be promised.
    pub promised_bytes: Bytes,
    /// The setting that makes it so: `vm.overcommit_ratio=50`.
    pub setting: String,
    /// What can be delivered to those whose memory is charged.
    pub deliverable_bytes: Bytes,
    /// RAM that can't be delivered, by who has it, the biggest first.
    pub kept: Vec<Kept>,
    /// Swap that can surely be delivered: without zram, which takes RAM to hold what it takes.
    pub swap_bytes: Bytes,
    /// `promised_bytes` − `deliverable_bytes`: above 0 the OOM killer fires within it.
    pub band_bytes: i64,
    /// `Committed_AS`.
    pub committed_bytes: Bytes,
    /// What of that is in use: in RAM and in swap.
    pub used_bytes: Bytes,
    /// Where the host is.
    pub state: Place,
    /// What one more program could have.
    pub one_more: OneMore,
    /// What strict overcommit would refuse to those that run now, the biggest first; `null` where mappings were not read.
    pub refused: Option<Vec<Refused>>,
    /// The setting that closes the band; `null` where there is none to close.
    pub advice: Option<Advice>,
}

/// RAM that can't be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Who has it, in words.
    pub name: String,
    /// How much.
    pub bytes: Bytes,
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// All that was promised can be delivered.
    Kept,
    /// More is promised than can be delivered: if it is used, the OOM killer fires.
    Band,
    /// Nothing more is promised.
    Refusing,
}

/// What one more program could have, while the others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OneMore {
    /// Up to this it gets what it asks for and can use it.
    pub fits_bytes: Bytes,
    /// From this on it is refused. Between the two it gets what it asks for, and the OOM killer fires when it uses it.
    pub refused_from_bytes: Bytes,
}

/// The states of this host; `None` where `/proc/meminfo` or `/proc/zoneinfo` does not say enough.
#[must_use]
pub fn overcommit(account: &Account) -> Option<Overcommit> {
    let Account { look, state, .. } = account;
    let commit = look.commit.as_ref()?;
    let delivery = delivery::of(look, state)?;
    let promised = commit.limit_bytes;
    // What is in use and was never promised lies outside, also where nobody read the mappings.
    let at_least = delivery.used - commit.committed_bytes;
    let outside = commit.anon_outside_bytes.unwrap_or_default().max(at_least);
    let deliverable = delivery.all() - outside;
    let place = match commit.committed_bytes {
        committed if committed >= promised => Place::Refusing,
        committed if committed > deliverable => Place::Band,
        _ => Place::Kept,
    };
    let overcommit = Overcommit {
        schema: SCHEMA,
        policy: commit.policy,
        promised_bytes: promised,
        setting: setting(state),
        deliverable_bytes: deliverable,
        swap_bytes: delivery.swap,
        band_bytes: promised.signed_sub(deliverable),
        committed_bytes: commit.committed_bytes,
        used_bytes: delivery.used - outside,
        state: place,
        one_more: OneMore {
            fits_bytes: delivery.unused,
            refused_from_bytes: promised - commit.committed_bytes,
        },
        refused: refused::of(commit),
        advice: None,
        kept: delivery.kept,
    };
    Some(Overcommit {
        advice: advice::of(&overcommit, look, state),
        ..overcommit
    })
}

/// How the limit is set.
fn setting(state: &State) -> String {
    let settings = &state.settings;
    match settings
        .overcommit_kbytes
        .filter(|bytes| *bytes > Bytes::ZERO)
    {
        Some(bytes) => format!("vm.overcommit_kbytes={}", bytes.get() >> 10),
        None => match settings.overcommit_ratio {
            Some(ratio) => format!("vm.overcommit_ratio={ratio}"),
            None => "a setting that was not seen".to_owned(),
        },
    }
}

/// All of swap, zram included: the kernel counts it in the limit.
fn all_swap(state: &State) -> Bytes {
    state.meminfo.swap_total.unwrap_or_default()
}

/// RAM of this host.
fn ram(look: &Look) -> Bytes {
    look.host.total_bytes
}

#[cfg(test)]
mod tests;
