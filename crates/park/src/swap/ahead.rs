//! Swap read ahead without CAP_SYS_NICE: by looking at it through `/proc/PID/mem`, which makes no copies of pages shared
//! since a fork (`process_vm_readv(2)` does).

use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Pagemap};
use plimsoll_units::PageSize;
use rustix::process::Pid;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// So much at a time.
const STEP: usize = 64 << 10;

/// Has the kernel bring in what is swapped in these spans of a process that runs.
pub(super) fn read(pid: u32, spans: &[Span], page_size: PageSize) -> io::Result<()> {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let known = known.ok_or(io::ErrorKind::NotFound)?;
    let pagemap = Pagemap::open(known, page_size)?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut bytes = [0; STEP];
    for span in spans {
        let mut swapped = Vec::new();
        pagemap.runs(*span, |run| {
            if run.page == Page::Swapped {
                swapped.push(run.span);
            }
        })?;
        for run in swapped {
            let mut at = run.start;
            while at < run.end {
                let length = usize::try_from(run.end - at).unwrap_or(STEP).min(STEP);
                // What is gone by now needs no reading.
                let _ = memory.read_at(bytes.get_mut(..length).unwrap_or_default(), at);
                at += length as u64;
            }
        }
    }
    Ok(())
}
