//! Our own memory while a tree is in our hands: it stays in RAM, the OOM killer looks elsewhere, and what it came to is
//! told.
//!
//! A pager that waits for its own pages, or is killed for its memory, leaves threads waiting. Nothing of ours grows
//! with the target: buffers are made once, a worker for each core.

use plimsoll_proc::Root;
use plimsoll_proc::process::status::Status;
use plimsoll_units::Bytes;
use rustix::mm::{MlockAllFlags, mlockall};

/// Keeps this process in memory and alive, as far as its user may ask for that.
pub fn spare() {
    let touched = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    // Under a limit, memory that is locked as it comes might not come.
    let privileged = rustix::process::geteuid().is_root();
    let later = privileged.then_some(MlockAllFlags::FUTURE);
    let _ = mlockall(touched | later.unwrap_or(MlockAllFlags::empty()));
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// The most that this process had in memory so far (`VmHWM`), its program included.
#[must_use]
pub fn peak(root: &Root) -> Option<Bytes> {
    let status = Status::parse(&root.read("proc/self/status").ok()?).ok()?;
    Some(status.vm?.high_water)
}
