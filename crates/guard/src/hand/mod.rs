//! Those who act. The loop neither forks nor allocates nor waits; what needs that is done by hands: processes started
//! beforehand, each at the other end of a socket.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod.rs` | the packets: a [`Task`] goes there, an [`Outcome`] with some words comes back |
//! | `work`, `process` | the acts themselves, over `cgroup`, `park` and signals |
//! | `serve` | a hand's own loop, and what it does when the guard is gone: thaw |
//! | `crew` | the guard's side: who is free, who is overdue, who has to be replaced |
//!
//! A packet is a line of JSON and raw bytes behind it: a group's path, which may be any bytes, or words.

pub mod crew;
mod process;
mod serve;
pub mod work;

pub use serve::{release, serve};

use crate::config::Extent;
use crate::observation::{Cause, Deed, Id, Outcome};
use plimsoll_units::Bytes;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// No packet is longer.
pub const LONGEST_PACKET: usize = 8 << 10;

/// What a hand is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// With whom.
    pub id: Id,
    /// What.
    pub deed: Deed,
    /// Why.
    pub cause: Cause,
    /// Whether it is idle: noted where it is stopped.
    pub was_idle: bool,
    /// What killing means.
    pub extent: Extent,
    /// The workload's rule, by its place in the configuration.
    pub rule: Option<usize>,
    /// What is to leave memory.
    pub expected_bytes: Bytes,
}

/// Puts a packet together in `room`; `None` where it does not fit. Nothing is allocated.
pub(crate) fn pack<'r>(room: &'r mut [u8], head: &impl Serialize, tail: &[u8]) -> Option<&'r [u8]> {
    let mut rest = &mut *room;
    serde_json::to_writer(&mut rest, head).ok()?;
    rest.write_all(b"\n").ok()?;
    rest.write_all(tail).ok()?;
    let left = rest.len();
    room.get(..room.len().checked_sub(left)?)
}

/// Takes one apart.
pub(crate) fn unpack<'p, T: Deserialize<'p>>(packet: &'p [u8]) -> Option<(T, &'p [u8])> {
    let end = packet.iter().position(|byte| *byte == b'\n')?;
    let (head, tail) = packet.split_at_checked(end)?;
    Some((serde_json::from_slice(head).ok()?, tail.get(1..)?))
}

/// A task and the path of its group.
pub(crate) fn task(packet: &[u8]) -> Option<(Task, &OsStr)> {
    let (task, path) = unpack(packet)?;
    Some((task, OsStr::from_bytes(path)))
}

/// An outcome and the words that say what happened.
pub(crate) fn outcome(packet: &[u8]) -> Option<(Outcome, &[u8])> {
    unpack(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_with_any_bytes() {
        let sent = Task {
            id: Id::Group(u64::MAX),
            deed: Deed::Thaw,
            cause: Cause::Pressure,
            was_idle: true,
            extent: Extent::Process,
            rule: Some(3),
            expected_bytes: Bytes(7),
        };
        let mut room = [0; LONGEST_PACKET];
        let packet = pack(&mut room, &sent, b"/a\n\xff").unwrap();
        assert_eq!(
            task(packet).unwrap(),
            (sent, OsStr::from_bytes(b"/a\n\xff"))
        );
        assert_eq!(pack(&mut [0; 10], &sent, b""), None);
        assert!(task(b"").is_none() && task(b"{}\n").is_none() && task(b"x").is_none());
    }
}
