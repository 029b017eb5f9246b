//! How many tests passed, failed and were skipped, read from the closing lines of the test runners.

use crate::skips::Skip;
use std::fmt;
use std::ops::AddAssign;

/// Counts of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Of those that passed: how many failed at first and passed when they were run again.
    pub(crate) flaky: usize,
}

impl Tally {
    /// What a line of a runner's output adds to the count: most add nothing.
    ///
    /// cargo test: `test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; ...`;
    /// nextest: `Summary [0.1s] 7 tests run: 6 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 2 skipped`; it indents what a test
    /// that failed had printed, the closing line of that test's own harness among it.
    pub(crate) fn of_line(line: &str) -> Self {
        let line = without_colour(line);
        let counts = match (
            line.strip_prefix("test result: "),
            line.split_once(" run: "),
        ) {
            (Some(counts), _) => counts,
            (None, Some((summary, counts))) if summary.contains("Summary [") => counts,
            _ => return Self::default(),
        };
        let mut tally = Self::default();
        for count in counts.split([',', ';', '.', '(', ')']) {
            let mut words = count.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse), words.next())
            else {
                continue;
            };
            match what {
                "passed" => tally.passed = number,
                "failed" | "timed" | "exec" => tally.failed += number,
                "skipped" | "ignored" => tally.skipped = number,
                "flaky" => tally.flaky = number,
                _ => {}
            }
        }
        tally
    }

    /// Runners take a test that skipped itself for one that passed; it did not.
    pub(crate) fn without(mut self, skips: &[Skip]) -> Self {
        self.passed = self.passed.saturating_sub(skips.len());
        self.skipped += skips.len();
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.flaky += other.flaky;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            flaky,
        } = self;
        if *flaky > 0 {
            writeln!(
                f,
                "{flaky} failed at first and passed when run again: FLAKY above"
            )?;
        }
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The line without `ESC [ ... m` sequences.
fn without_colour(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        text + piece.split_once('m').map_or(piece, |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_no_others() {
        for (line, passed, failed, skipped, flaky) in [
            (
                "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; \
                 finished in 0.11s",
                7,
                0,
                1,
                0,
            ),
            (
                "test result: FAILED. 6 passed; 1 failed; 0 ignored; 0 measured",
                6,
                1,
                0,
                0,
            ),
            (
                "     Summary [   0.141s] 7 tests run: 7 passed, 0 skipped",
                7,
                0,
                0,
                0,
            ),
            (
                "     Summary [   0.141s] 7 tests run: 7 passed (2 slow, 1 flaky), 0 skipped",
                7,
                0,
                0,
                1,
            ),
            (
                "\x1b[31m     Summary\x1b[0m [   9.141s] 9/10 tests run: 6 passed (1 slow), \
                 1 \x1b[31mfailed\x1b[0m, 1 timed out, 1 exec failed, 2 skipped",
                6,
                3,
                2,
                0,
            ),
            (
                "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured",
                0,
                0,
                0,
                0,
            ),
            ("3 passed and on we go", 0, 0, 0, 0),
            ("", 0, 0, 0, 0),
        ] {
            let expected = Tally {
                passed,
                failed,
                skipped,
                flaky,
            };
            assert_eq!(Tally::of_line(line), expected, "{line}");
        }
    }
}
