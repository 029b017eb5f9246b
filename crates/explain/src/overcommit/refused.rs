//! What strict overcommit would refuse to programs that run now: mappings that were made without reserve, and forks.

use plimsoll_ledger::look::{Commit, CommitProcess, Policy};
use plimsoll_units::Bytes;
use serde::Serialize;

/// Something that a program does now and could not do then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// What.
    pub want: Want,
    /// What it would be charged.
    pub wants_bytes: Bytes,
    /// The shapes that tell whose memory it is, where they do.
    pub shapes: Vec<String>,
}

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Mappings that it made without reserve (`MAP_NORESERVE`), which strict overcommit ignores: script engines, sanitizers' shadow,
    /// arenas of allocators.
    Reservation,
    /// A copy of itself (`fork(2)`), for which all that is charged to it is charged again.
    Fork,
}

/// `None` where the mappings were not read. Under strict overcommit what was made without reserve before it was set is still told.
pub(super) fn of(commit: &Commit) -> Option<Vec<Refused>> {
    commit.recomputed_bytes?;
    let unreserved: Bytes = commit
        .processes
        .iter()
        .map(|process| process.unreserved_bytes)
        .sum();
    let would_be = match commit.policy {
        Policy::Strict => commit.committed_bytes,
        Policy::Heuristic | Policy::Always => commit.committed_bytes + unreserved,
    };
    let left_without = |own: Bytes| commit.limit_bytes - (would_be - own);
    let mut refused: Vec<_> = commit
        .processes
        .iter()
        .flat_map(|process| {
            let unreserved = process.unreserved_bytes;
            let charged = process.charged_bytes;
            let reservation = (unreserved > left_without(unreserved))
                .then(|| refused(process, Want::Reservation, unreserved));
            let fork = (charged > left_without(Bytes::ZERO))
                .then(|| refused(process, Want::Fork, charged));
            [reservation, fork]
        })
        .flatten()
        .collect();
    refused.sort_by_key(|one| (std::cmp::Reverse(one.wants_bytes), one.pid));
    Some(refused)
}

fn refused(process: &CommitProcess, want: Want, wants_bytes: Bytes) -> Refused {
    Refused {
        pid: process.pid,
        command: process.command.clone(),
        want,
        wants_bytes,
        shapes: process.shapes.clone(),
    }
}
