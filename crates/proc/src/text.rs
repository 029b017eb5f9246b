//! Byte-level helpers that all parsers share: lines, fields, numbers, and names made printable.

use std::borrow::Cow;
use std::fmt::Write;

/// The lines of a file, without their `\n`; no empty line after the last.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|&b| b == b'\n')
        .take(if text.is_empty() { 0 } else { usize::MAX })
}

/// The words of a line, separated by runs of spaces and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&b| b == b' ' || b == b'\t')
        .filter(|word| !word.is_empty())
}

/// A decimal number that fills the whole word; `None` for anything else, overflow included.
#[must_use]
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A hexadecimal number, without prefix, that fills the whole word.
#[must_use]
pub fn hex(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 16 {
        return None;
    }
    word.iter().try_fold(0u64, |sum, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(sum << 4 | u64::from(digit))
    })
}

/// `key: rest` of a line, both trimmed of blanks.
#[must_use]
pub fn key_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((
        line.get(..colon)?.trim_ascii(),
        line.get(colon + 1..)?.trim_ascii(),
    ))
}

/// Bytes as people may safely see them: valid UTF-8 without control characters stays, all else is `\xNN`.
#[must_use]
pub fn printable(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.chars().any(char::is_control)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut utf8 = [0; 4];
                escape(&mut shown, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                shown.push(c);
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    Cow::Owned(shown)
}

fn escape(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(shown, "\\x{byte:02x}"); // writing to a String can't fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_words() {
        assert_eq!(
            lines(b"a\n\nb\n").collect::<Vec<_>>(),
            [&b"a"[..], b"", b"b"]
        );
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(words(b"  a\t b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn numbers_fill_their_word() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(
            (number(b""), number(b"-1"), number(b"1k")),
            (None, None, None)
        );
        assert_eq!(
            (hex(b"ffffffffffffffff"), hex(b"0x1"), hex(b"")),
            (Some(u64::MAX), None, None)
        );
    }

    #[test]
    fn hostile_names_are_shown_harmless() {
        assert_eq!(printable("näme".as_bytes()), "näme");
        assert_eq!(printable(b"a\n\x1b[31m\xff"), "a\\x0a\\x1b[31m\\xff");
    }
}
