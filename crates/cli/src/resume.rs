//! `plimsoll resume`: parked trees run again.

use crate::args;
use crate::failure::Failure;
use crate::park::{catch_signals, json_line};
use crate::terminal;
use crate::wake;
use plimsoll_park::back::{self, Resumed};
use plimsoll_park::runtime::Runtime;
use plimsoll_park::{ParkError, own_memory};
use plimsoll_proc::Root;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Resumes as asked.
pub(crate) fn run(args: &args::Resume) -> Result<(), Failure> {
    let root = Root::live();
    let runtime = Runtime::of_this_user().map_err(ParkError::from)?;
    // A pager that ended now would leave waiting threads: it works on to the end.
    let _interrupted = catch_signals()?;
    own_memory::spare();
    wake::ensure(&runtime);
    for pid in &args.pids {
        let begun = Instant::now();
        let resumed = back::resume(&root, &runtime, *pid)?;
        terminal::print(&told(args, *pid, &resumed, begun.elapsed())?)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    pid: u32,
    via: &'static str,
    returned_bytes: u64,
    running_after_ms: u64,
    took_ms: u64,
    /// The most memory that this program took.
    own_peak_bytes: Option<u64>,
}

fn told(
    args: &args::Resume,
    pid: u32,
    resumed: &Resumed,
    took: Duration,
) -> Result<String, Failure> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let told = Told {
        schema: "plimsoll.resume/1",
        pid,
        via: resumed.record.means.name(),
        returned_bytes: resumed.returned_bytes,
        running_after_ms: ms(resumed.running_after),
        took_ms: ms(took),
        own_peak_bytes: own_memory::peak(&Root::live()).map(Bytes::get),
    };
    if args.json {
        return json_line(&told);
    }
    let kept = resumed.swap_kept.as_ref();
    let kept = kept.map_or_else(String::new, |why| {
        format!("  The swap file stays for now: {why}\n")
    });
    Ok(format!(
        "Resumed {pid}: running after {} ms, {} brought back in {} ms\n{kept}",
        told.running_after_ms,
        Bytes(told.returned_bytes),
        told.took_ms
    ))
}
