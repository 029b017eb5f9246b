//! Swap read ahead of the faults: by advice on several threads, each of which waits for the disk; or without CAP_SYS_NICE by
//! looking at it through `/proc/PID/mem`, which makes no copies of pages shared since a fork (`process_vm_readv(2)`
//! does).

use super::steps;
use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Pagemap};
use plimsoll_sys::vm::{self, Advice};
use plimsoll_units::PageSize;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So much at a time.
const STEP: usize = 64 << 10;
/// So much is advised at a time, by so many threads: a fault waits for one of these at most.
const ADVISED_BYTES: u64 = 4 << 20;
const ADVISERS: usize = 4;

/// Has the kernel bring in what is swapped in these spans, by `MADV_WILLNEED`.
///
/// # Errors
/// The first refusal, which ends it.
pub(super) fn advise(process: &OwnedFd, spans: &[Span]) -> Result<(), Errno> {
    let all = spans.iter().flat_map(|span| steps(*span, ADVISED_BYTES));
    let (all, refused) = (Mutex::new(all), Mutex::new(None));
    let next = || {
        let go_on = lock(&refused).is_none();
        go_on.then(|| lock(&all).next()).flatten()
    };
    std::thread::scope(|scope| {
        for _ in 0..ADVISERS {
            scope.spawn(|| {
                while let Some(step) = next() {
                    // Of any other error it is only advice: the mapping may be gone.
                    let advised = vm::advise(process, &[step], Advice::WillNeed);
                    if let Err(errno @ (Errno::PERM | Errno::NOSYS | Errno::SRCH)) = advised {
                        lock(&refused).get_or_insert(errno);
                    }
                }
            });
        }
    });
    let refused = *lock(&refused);
    refused.map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
