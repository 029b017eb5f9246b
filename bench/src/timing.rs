//! How long something takes: repeated, sorted, and told as minimum, median and 90th percentile.

use std::fmt;
use std::time::{Duration, Instant};

/// Sorted measurements of one thing; never empty.
pub struct Spread<T>(Vec<T>);

impl<T: Copy + Ord> Spread<T> {
    /// From what was measured; `None` where that is nothing.
    pub fn of(mut values: Vec<T>) -> Option<Self> {
        values.sort_unstable();
        (!values.is_empty()).then_some(Self(values))
    }

    /// The value that `percent` of all stay below.
    pub fn percentile(&self, percent: usize) -> T {
        let last = self.0.len().saturating_sub(1);
        let index = last * percent.min(100) / 100;
        *self.0.get(index).expect("the index is at most the last")
    }
}

impl<T: Copy + Ord + fmt::Debug> fmt::Display for Spread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, p90, max] = [0, 50, 90, 100].map(|percent| self.percentile(percent));
        write!(
            f,
            "min {min:?}, median {median:?}, p90 {p90:?}, max {max:?}"
        )
    }
}

/// Runs `work` so many times, and tells how long each took.
pub fn time<E>(times: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<Vec<Duration>, E> {
    (0..times)
        .map(|_| {
            let start = Instant::now();
            work()?;
            Ok(start.elapsed())
        })
        .collect()
}

/// One line about the machine that is measured.
pub fn print_machine() {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches(['\t', ' ', ':']);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "Linux {}, {cpus} CPUs, {model}",
        read("/proc/sys/kernel/osrelease").trim()
    );
}
