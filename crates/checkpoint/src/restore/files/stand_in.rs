//! Processes that live only to be ended: a pidfd whose process is gone, or a directory of `/proc` that is, can't be had without
//! one.

use plimsoll_sys::blank::{self, Kinship};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid,
};
use std::collections::BTreeSet;

/// A process of ours that does nothing. It ends, and its pid is free, when this is dropped.
#[derive(Debug)]
pub(super) struct StandIn {
    pub(super) pid: Pid,
}

impl StandIn {
    /// One with this pid.
    pub(super) fn with(pid: Pid) -> Result<Self, Errno> {
        let pid = blank::spawn(pid, Kinship::Child)?;
        Ok(Self { pid })
    }

    /// One that has ended already, with a pid that is free and none of `taken`.
    pub(super) fn ended(taken: &BTreeSet<u32>) -> Result<Self, Errno> {
        let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        let most: u32 = most.trim().parse().map_err(|_| Errno::RANGE)?;
        let free = (2..most).rev().filter(|pid| !taken.contains(pid));
        let pid = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
        for pid in free.filter_map(pid) {
            let made = match Self::with(pid) {
                Err(Errno::EXIST) => continue,
                made => made?,
            };
            kill_process(made.pid, Signal::KILL)?;
            // It can be opened as long as nobody has waited for it.
            let leave = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::io::retry_on_intr(|| waitid(WaitId::Pid(made.pid), leave))?;
            return Ok(made);
        }
        Err(Errno::AGAIN)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
    }
}
