//! How long the OOM reports of a kernel log of 100 MB take to be found and read (`plimsoll explain oom`). The log is ordinary
//! lines as `dmesg` prints them, with a report from a guest of the lab among every 5 MB.

use anyhow::{Result, ensure};
use plimsoll_bench::timing::{Spread, print_machine, time};
use plimsoll_explain::report::reports;

const REPORT: &str = include_str!("../../../crates/explain/fixtures/oom-6.12-global.txt");
const LOG_BYTES: usize = 100_000_000;
const BYTES_TO_A_REPORT: usize = 5_000_000;
const TIMES: usize = 5;
const ASKED: &str = "2 s";

fn main() -> Result<()> {
    print_machine();
    let (log, written) = log();
    let read = || -> Result<()> {
        let found = reports(&log).len();
        ensure!(found == written, "{found} of {written} reports were found");
        Ok(())
    };
    let times = time(TIMES, read)?;
    let spread = Spread::of(times).expect("it was timed");
    println!(
        "a kernel log of {LOG_BYTES} bytes with {written} reports: {spread} (asked: less than {ASKED})"
    );
    Ok(())
}

/// The log, and how many reports it has.
fn log() -> (Vec<u8>, usize) {
    let mut log = Vec::with_capacity(LOG_BYTES + REPORT.len());
    let mut written = 0;
    let mut line = 0u64;
    while log.len() < LOG_BYTES {
        if log.len() / BYTES_TO_A_REPORT >= written {
            log.extend_from_slice(REPORT.as_bytes());
            written += 1;
        }
        line += 1;
        let text = format!(
            "[{:5}.{:06}] audit: type=1400 audit({line}): apparmor=\"STATUS\" operation=\"profile_replace\" pid={} comm=\"apparmor_parser\"\n",
            line / 1000,
            line % 1000 * 1000,
            line % 30_000
        );
        log.extend_from_slice(text.as_bytes());
    }
    (log, written)
}
