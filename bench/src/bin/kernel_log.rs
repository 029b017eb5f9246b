//! How long the OOM reports of a kernel log of 100 MB take to be found and read (`plimsoll explain oom`). One log is ordinary
//! lines as `dmesg` prints them, with a report from a guest of the lab among every 5 MB; the other is of a host that ran out again and
//! again: nothing but reports.

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
    measure(&mostly_others())?;
    measure(&reports_alone())
}

struct Log {
    bytes: Vec<u8>,
    reports: usize,
}

fn measure(log: &Log) -> Result<()> {
    let read = || -> Result<()> {
        let found = reports(&log.bytes).len();
        ensure!(
            found == log.reports,
            "{found} of {} reports were found",
            log.reports
        );
        Ok(())
    };
    let times = time(TIMES, read)?;
    let spread = Spread::of(times).expect("it was timed");
    println!(
        "a kernel log of {} bytes with {} reports: {spread} (asked: less than {ASKED})",
        log.bytes.len(),
        log.reports
    );
    Ok(())
}

fn reports_alone() -> Log {
    let reports = LOG_BYTES.div_ceil(REPORT.len());
    Log {
        bytes: REPORT.repeat(reports).into_bytes(),
        reports,
    }
}

fn mostly_others() -> Log {
    let mut bytes = Vec::with_capacity(LOG_BYTES + REPORT.len());
    let mut reports = 0;
    let mut line = 0u64;
    while bytes.len() < LOG_BYTES {
        if bytes.len() / BYTES_TO_A_REPORT >= reports {
            bytes.extend_from_slice(REPORT.as_bytes());
            reports += 1;
        }
        line += 1;
        let text = format!(
            "[{:5}.{:06}] audit: type=1400 audit({line}): apparmor=\"STATUS\" operation=\"profile_replace\" pid={} comm=\"apparmor_parser\"\n",
            line / 1000,
            line % 1000 * 1000,
            line % 30_000
        );
        bytes.extend_from_slice(text.as_bytes());
    }
    Log { bytes, reports }
}
