//! What is done to a single process that no group of its own holds.

use super::work::WorkError;
use plimsoll_proc::Root;
use plimsoll_proc::process::maps::Mapping;
use plimsoll_proc::process::status::Status;
use plimsoll_proc::text::lines;
use plimsoll_sys::Span;
use plimsoll_sys::vm::{Advice, advise};
use plimsoll_units::Bytes;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What is asked for in one call: the kernel reclaims it before it answers.
const BATCH: u64 = 32 << 20;

/// Resident anonymous memory and swap.
pub(super) fn held(pid: u32) -> Bytes {
    let vm = || {
        let text = Root::live().read(format!("proc/{pid}/status")).ok()?;
        Status::parse(&text).ok()?.vm
    };
    vm().map_or(Bytes::ZERO, |vm| {
        vm.rss_anon.unwrap_or(vm.rss) + vm.swap.unwrap_or_default()
    })
}

/// Has the kernel page a process out, a batch at a time (`process_madvise(2)`, `MADV_PAGEOUT`).
pub(super) fn page_out(pid: u32, expected: Bytes) -> Result<Bytes, WorkError> {
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(WorkError::Gone)?;
    let pidfd =
        pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| WorkError::Signal(pid, errno))?;
    let before = resident(pid);
    let text = Root::live().read(format!("proc/{pid}/maps"))?;
    // What has an inode is a file's, and its pages are no trouble.
    let anonymous = lines(&text)
        .filter_map(Mapping::parse)
        .filter(|mapping| mapping.inode == 0);
    for mapping in anonymous {
        let mut start = mapping.start;
        while start < mapping.end && before - resident(pid) < expected {
            let length = (mapping.end - start).min(BATCH);
            // Special mappings take no advice.
            let _ = advise(&pidfd, &[Span::new(start, length)], Advice::PageOut);
            start = start.saturating_add(length);
        }
    }
    Ok(before - resident(pid))
}

fn resident(pid: u32) -> Bytes {
    let text = Root::live().read(format!("proc/{pid}/status"));
    let status = text.ok().and_then(|text| Status::parse(&text).ok());
    status
        .and_then(|status| status.vm)
        .map_or(Bytes::ZERO, |vm| vm.rss)
}
