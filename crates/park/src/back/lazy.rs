//! Trees of which only what is touched is brought back, until somebody wants all.

use super::Resumed;
use crate::runtime::{Record, Runtime};
use crate::{ParkError, arm};
use plimsoll_surgery::tree::ProcessName;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use std::fs::File;
use std::time::Duration;

/// How often it is looked whether another plimsoll is done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Tells the pager that brings back only what is touched to bring back all, and waits until it has.
pub(super) fn lazy_no_more(
    runtime: &Runtime,
    top: ProcessName,
    record: Record,
) -> Result<Resumed, ParkError> {
    runtime.ring(top)?;
    loop {
        match runtime.lock(top)? {
            None => std::thread::sleep(BETWEEN_LOOKS),
            Some(entry) => {
                // It has ended before it was done.
                if entry.record()?.is_some() {
                    return Err(ParkError::Busy(top.pid));
                }
                entry.remove()?;
                return Ok(Resumed {
                    record,
                    returned_bytes: 0,
                    running_after: Duration::ZERO,
                    swap_kept: None,
                });
            }
        }
    }
}

/// Waits until the bell is rung or all processes of a tree have ended.
pub(super) fn until_rung(bell: &File, record: &Record) {
    let mut living: Vec<OwnedFd> = record
        .processes
        .iter()
        .filter_map(|member| arm::pidfd(member.name.pid).ok())
        .collect();
    while !living.is_empty() {
        let mut waits = vec![PollFd::new(bell, PollFlags::IN)];
        waits.extend(living.iter().map(|one| PollFd::new(one, PollFlags::IN)));
        if retry_on_intr(|| poll(&mut waits, None)).is_err() {
            return;
        }
        let mut ready = waits.iter().map(|wait| !wait.revents().is_empty());
        if ready.next() == Some(true) {
            return;
        }
        let ended: Vec<bool> = ready.collect();
        let mut ended = ended.into_iter();
        living.retain(|_| ended.next() == Some(false));
    }
}
