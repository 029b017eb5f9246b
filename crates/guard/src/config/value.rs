//! The values of the configuration: shares of RAM (`"10%"` or `"512M"`), sizes, percents, times (`"10s"`, `"5m"`).

use plimsoll_units::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

/// A share of RAM, with a ceiling; or a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    percent: u8,
    most: Bytes,
}

impl Share {
    pub(super) const fn new(percent: u8, most: Bytes) -> Self {
        Self { percent, most }
    }

    /// In bytes, on a host with so much RAM.
    #[must_use]
    pub fn of(self, total: Bytes) -> Bytes {
        Bytes(total.get() / 100 * u64::from(self.percent)).min(self.most)
    }
}

/// What part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// A time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Milliseconds(pub u64);

/// A size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount(pub Bytes);

fn percent(word: &str) -> Option<u8> {
    let percent = word.strip_suffix('%')?.trim().parse().ok()?;
    (percent <= 100).then_some(percent)
}

fn milliseconds(word: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let (number, factor) = UNITS.iter().find_map(|(unit, factor)| {
        let number = word.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
        Some((number, *factor))
    })?;
    number.checked_mul(factor)
}

fn size(word: &str) -> Option<Bytes> {
    word.parse().ok()
}

/// Reads a word, and says what would have been right.
macro_rules! from_word {
    ($type:ty, $parse:expr, $wanted:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(&word).ok_or_else(|| {
                    de::Error::custom(format_args!(concat!("`{}` is not ", $wanted), word))
                })
            }
        }
    };
}

from_word!(
    Share,
    |word| {
        let all = |percent| Self::new(percent, Bytes(u64::MAX));
        percent(word)
            .map(all)
            .or_else(|| Some(Self::new(100, size(word)?)))
    },
    "a share of RAM like \"10%\" or a size like \"512M\""
);
from_word!(
    Percent,
    |word| percent(word).map(Self),
    "a share of time like \"20%\""
);
from_word!(
    Milliseconds,
    |word| milliseconds(word).map(Self),
    "a time like \"500ms\", \"10s\", \"5m\" or \"1h\""
);
from_word!(
    Amount,
    |word| size(word).map(Self),
    "a size like \"512M\" or \"1.5GiB\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(milliseconds("5m"), Some(300_000));
        assert_eq!(milliseconds("500 ms"), Some(500));
        assert_eq!((milliseconds("5"), milliseconds("-1s")), (None, None));
        assert_eq!(milliseconds("18446744073709551615h"), None);
        assert_eq!(
            (percent("100%"), percent("101%"), percent("x%")),
            (Some(100), None, None)
        );
    }

    #[test]
    fn a_share_has_a_ceiling() {
        let share = Share::new(10, Bytes(1 << 30));
        assert_eq!(share.of(Bytes(1000)), Bytes(100));
        assert_eq!(share.of(Bytes(1 << 40)), Bytes(1 << 30));
    }
}
