//! `/proc/vmstat`: page counters of the whole host, then event counts since boot (`proc_vmstat(5)`).

use crate::page_counters::PageCounters;
use crate::text::{lines, number, words};

/// Reads the whole file; event counts (`pgfault`, `oom_kill`, …) are among the unknown.
#[must_use]
pub fn parse(text: &[u8]) -> PageCounters {
    let mut counters = PageCounters::default();
    for line in lines(text) {
        let mut words = words(line);
        if let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) {
            counters.set(name, value);
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_units::Pages;

    #[test]
    fn a_whole_file() {
        let vmstat = parse(include_bytes!("../fixtures/vmstat-6.18.txt"));
        assert_eq!(vmstat.nr_memmap_pages, Some(Pages(0)));
        assert_eq!(vmstat.nr_bounce, None);
        assert!(vmstat.unknown.iter().any(|(name, _)| **name == *b"pgfault"));
    }
}
