//! A size in bytes: exact inside, IEC (`1.5 GiB`) when people read or write it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// A size in bytes. Sums and differences saturate.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// The IEC prefixes, largest first, with the power of two each stands for.
const PREFIXES: [(char, u32); 6] = [
    ('E', 60),
    ('P', 50),
    ('T', 40),
    ('G', 30),
    ('M', 20),
    ('K', 10),
];

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// From the `kB` of `/proc` files, which are KiB.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1024))
    }

    /// From MiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The difference with its sign, clamped to what `i64` holds.
    #[must_use]
    pub fn signed_sub(self, other: Self) -> i64 {
        let difference = i128::from(self.0) - i128::from(other.0);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    /// Three significant digits and an IEC unit (`512 B`, `1.50 GiB`); width and fill are honoured. Allocates nothing: who must
    /// not says sizes, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words::default();
        iec(self.0, &mut words)?;
        f.pad(words.text())
    }
}

/// Three significant digits in the largest unit that the size fills once rounded.
fn iec(bytes: u64, to: &mut impl fmt::Write) -> fmt::Result {
    for (prefix, shift) in PREFIXES {
        let size = bytes as f64 / (1u64 << shift) as f64;
        if size >= 0.9995 {
            let decimals = if size < 9.995 {
                2
            } else if size < 99.95 {
                1
            } else {
                0
            };
            return write!(to, "{size:.decimals$} {prefix}iB");
        }
    }
    write!(to, "{bytes} B")
}

/// Room for the longest, `1023 MiB`, twice over.
#[derive(Debug, Default)]
struct Words {
    room: [u8; 16],
    length: usize,
}

impl Words {
    fn text(&self) -> &str {
        let written = self.room.get(..self.length).unwrap_or_default();
        std::str::from_utf8(written).unwrap_or_default()
    }
}

impl fmt::Write for Words {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let end = self.length.saturating_add(more.len());
        let place = self.room.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(more.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Why a size could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {text:?} (write it as 512M, 1.5GiB or a number of bytes)")]
pub struct ParseBytesError {
    text: String,
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    /// Reads `4096`, `512M`, `512MB`, `1.5GiB`, `1.5 GiB`: every prefix is a power of 1024, in either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| ParseBytesError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Bytes> {
    let number_ends = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(number_ends)?;
    let unit = unit.trim_start().to_ascii_uppercase();
    let unit = unit
        .strip_suffix("IB")
        .or_else(|| unit.strip_suffix('B'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        one => {
            PREFIXES
                .iter()
                .find(|(prefix, _)| one.chars().eq([*prefix]))?
                .1
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (shift == 0 && number.contains('.')) || fraction.len() > 15 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction_digits = u32::try_from(fraction.len()).ok()?;
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let bytes = (u128::from(whole) << shift) + (fraction << shift) / 10u128.pow(fraction_digits);
    u64::try_from(bytes).ok().map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_read_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (1 << 40, "1.00 TiB"),
            ((99 << 20) + (1 << 19), "99.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text, "{bytes}");
        }
    }

    #[test]
    fn people_write_sizes_in_many_ways() {
        for text in [
            "1.5GiB",
            "1.5G",
            "1.5 gib",
            "1536M",
            "1610612736",
            "1610612736B",
            "1572864kB",
        ] {
            assert_eq!(text.parse(), Ok(Bytes(1_610_612_736)), "{text}");
        }
        for text in [
            "",
            "G",
            "1.5",
            "-1G",
            "1e9",
            "1.5Q",
            "99999999E",
            "0x10",
            "1..5G",
            "1.5.5G",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_size_prints_and_reads_back_within_half_a_percent_and_a_bit(bytes: u64) {
            let read: Bytes = Bytes(bytes).to_string().parse().map_or(Bytes(u64::MAX), |b| b);
            prop_assert!(read.0.abs_diff(bytes) as f64 <= bytes as f64 * 0.0052);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Bytes>();
        }
    }
}
