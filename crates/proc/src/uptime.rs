//! `/proc/uptime`: how long the host has been up (`proc_uptime(5)`).

use crate::text::{number, words};

/// Milliseconds since boot, suspend included; of `SECONDS.HUNDREDTHS IDLE`.
#[must_use]
pub fn parse(text: &[u8]) -> Option<u64> {
    let up = words(text.trim_ascii()).next()?;
    let mut parts = up.splitn(2, |byte| *byte == b'.').map(number);
    let (seconds, hundredths) = (parts.next()??, parts.next()??);
    seconds
        .checked_mul(1000)?
        .checked_add(hundredths.checked_mul(10)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_hundredths() {
        assert_eq!(parse(b"1174.73 2055.40\n"), Some(1_174_730));
        assert_eq!(parse(b"18446744073709551615.99 1\n"), None);
        assert_eq!(parse(b"x"), None);
    }
}
