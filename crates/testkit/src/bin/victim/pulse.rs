//! What somebody else on the host feels of its trouble, and who makes it.
//!
//! ```text
//! victim pulse S         locked in memory, wakes every 10 ms for so many seconds; then prints, as a part of a JSON object, the
//!                        longest time between two beats, what tasks stood still (PSI), and when that was over
//! victim hog MIB RATE    takes so much, RATE MiB a second (0: as fast as it can), and keeps it
//! ```

use rustix::mm::{MlockAllFlags, mlockall};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(10);
/// Figures of the kernel are read once in so many beats.
const BEATS_A_LOOK: u64 = 20;

/// Where the totals of `/proc/pressure/memory` stand, in microseconds: some, full.
fn stalls(file: &File) -> [u64; 2] {
    let mut text = [0; 256];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    let text = std::str::from_utf8(text.get(..length).unwrap_or_default()).unwrap_or_default();
    let mut totals = text
        .lines()
        .filter_map(|line| line.rsplit_once("total=")?.1.trim().parse().ok());
    std::array::from_fn(|_| totals.next().unwrap_or(0))
}

pub(crate) fn pulse(seconds: u64) -> Result<(), String> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|error| error.to_string())?;
    let pressure = File::open("/proc/pressure/memory").map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let first = stalls(&pressure);
    let (mut last, mut looked, mut troubled_ms) = (first, begun, 0);
    let (mut beat, mut longest, mut beats) = (begun, Duration::ZERO, 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        sleep(BEAT);
        let now = Instant::now();
        longest = longest.max(now - beat);
        beat = now;
        beats += 1;
        if beats.is_multiple_of(BEATS_A_LOOK) {
            let totals = stalls(&pressure);
            let stood = Duration::from_micros(totals[0].saturating_sub(last[0]));
            // Some stood still for a tenth of the time.
            if stood * 10 > now - looked {
                troubled_ms = begun.elapsed().as_millis();
            }
            (last, looked) = (totals, now);
        }
    }
    println!(
        "\"gap_ms\":{},\"some_ms\":{},\"full_ms\":{},\"troubled_until_ms\":{troubled_ms}",
        longest.as_millis(),
        last[0].saturating_sub(first[0]) / 1000,
        last[1].saturating_sub(first[1]) / 1000,
    );
    Ok(())
}

pub(crate) fn hog(mib: u64, a_second: u64) -> Result<(), String> {
    let begun = Instant::now();
    let mut memory: Vec<Vec<u8>> = Vec::new();
    for taken in 0..mib {
        memory.push(black_box(vec![7; 1 << 20]));
        let due_ms = taken.saturating_mul(1000).checked_div(a_second);
        let due = Duration::from_millis(due_ms.unwrap_or(0));
        sleep(due.saturating_sub(begun.elapsed()));
    }
    loop {
        sleep(Duration::from_secs(3600));
    }
}
