//! Pressure stall information: `/proc/pressure/{cpu,io,memory}` and a group's `memory.pressure`.
//!
//! `Documentation/accounting/psi.rst`. `some`: at least one task waited for the resource; `full`: all that were
//! not idle did, so nothing got done. `full` of the CPU is missing before 5.13.

use crate::text::{lines, number, words};
use std::time::Duration;

/// Both lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All waited.
    pub full: Option<Stall>,
}

/// How much of the time was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last 5 minutes.
    pub avg300: f64,
    /// Since boot, or since the group was made.
    pub total: Duration,
}

impl Pressure {
    /// `None` where the file has another shape.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let line = |name: &[u8]| lines(text).find_map(|line| stall(line, name));
        Some(Self {
            some: line(b"some")?,
            full: line(b"full"),
        })
    }
}

fn stall(line: &[u8], name: &[u8]) -> Option<Stall> {
    let mut fields = words(line);
    (fields.next()? == name).then_some(())?;
    let mut field = |key: &[u8]| fields.next()?.strip_prefix(key);
    Some(Stall {
        avg10: percent(field(b"avg10=")?)?,
        avg60: percent(field(b"avg60=")?)?,
        avg300: percent(field(b"avg300=")?)?,
        total: Duration::from_micros(number(field(b"total=")?)?),
    })
}

/// `12.34`: whole percents and two digits.
fn percent(word: &[u8]) -> Option<f64> {
    let dot = memchr::memchr(b'.', word)?;
    let whole = u32::try_from(number(word.get(..dot)?)?).ok()?;
    let hundredths = word
        .get(dot.checked_add(1)?..)
        .filter(|digits| digits.len() == 2)?;
    let hundredths = u32::try_from(number(hundredths)?).ok()?;
    Some(f64::from(whole) + f64::from(hundredths) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_under_pressure_and_an_old_cpu_file() {
        let text = b"some avg10=1.05 avg60=0.00 avg300=0.21 total=1234567\n\
                     full avg10=0.99 avg60=0.00 avg300=0.10 total=5\n";
        let pressure = Pressure::parse(text).unwrap();
        assert_eq!(pressure.some.avg10, 1.05);
        assert_eq!(pressure.some.total, Duration::from_micros(1_234_567));
        assert_eq!(pressure.full.unwrap().avg300, 0.10);
        let some_only = text.split_inclusive(|&b| b == b'\n').next().unwrap();
        assert_eq!(Pressure::parse(some_only).unwrap().full, None);
    }

    #[test]
    fn another_shape_is_no_pressure() {
        for text in [
            &b""[..],
            b"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            b"some avg10=0 avg60=0.00 avg300=0.00 total=0\n",
            b"some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n",
            b"some avg60=0.00 avg10=0.00 avg300=0.00 total=0\n",
            b"some avg10=0.00 avg60=0.00 avg300=0.00\n",
            b"some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n",
        ] {
            assert_eq!(Pressure::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pressure_is_read_back(whole in 0u32..101, hundredths in 0u32..100, total: u64) {
            let text = format!("some avg10={whole}.{hundredths:02} avg60=0.00 avg300=0.00 total={total}\n");
            let read = Pressure::parse(text.as_bytes()).unwrap().some;
            prop_assert_eq!(format!("{:.2}", read.avg10), format!("{whole}.{hundredths:02}"));
            prop_assert_eq!(read.total, Duration::from_micros(total));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Pressure::parse(&text);
        }
    }
}
