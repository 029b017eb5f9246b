//! A text told as what changed since another: line by line, since kernel files keep their lines in place.
//!
//! Encoded: the number of lines (`u32`), then for each line that differs from the one in its place: how many lines before it
//! do not differ (`u32`), its length (`u32`), its bytes with the line feed. Little endian. A line that came or went in the
//! middle shifts those below it, which then are told whole: longer, not wrong.

/// What takes encoded bytes; says whether it had room.
pub trait Sink {
    /// Takes all of `bytes`, or says `false`.
    #[must_use]
    fn put(&mut self, bytes: &[u8]) -> bool;
}

/// Lines with their line feeds; nothing is lost by putting them together again.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// Writes `text` as difference from `key`; `None` where `sink` is full.
pub fn encode(key: &[u8], text: &[u8], sink: &mut impl Sink) -> Option<()> {
    let mut put = |bytes: &[u8]| sink.put(bytes).then_some(());
    let count = u32::try_from(lines(text).count()).ok()?;
    put(&count.to_le_bytes())?;
    let mut keys = lines(key);
    let mut same: u32 = 0;
    for line in lines(text) {
        if keys.next() == Some(line) {
            same = same.checked_add(1)?;
            continue;
        }
        put(&same.to_le_bytes())?;
        put(&u32::try_from(line.len()).ok()?.to_le_bytes())?;
        put(line)?;
        same = 0;
    }
    Some(())
}

/// The text that was encoded as `delta` from `key`; `None` where the bytes make no sense. Never longer than both together.
#[must_use]
pub fn decode(key: &[u8], mut delta: &[u8]) -> Option<Vec<u8>> {
    let mut left = number(&mut delta)?;
    let mut keys = lines(key);
    let mut text = Vec::new();
    while !delta.is_empty() {
        let same = number(&mut delta)?;
        let length = usize::try_from(number(&mut delta)?).ok()?;
        left = left.checked_sub(same)?.checked_sub(1)?;
        copy(&mut keys, same, &mut text)?;
        keys.next();
        let (line, rest) = delta.split_at_checked(length)?;
        text.extend_from_slice(line);
        delta = rest;
    }
    copy(&mut keys, left, &mut text)?;
    Some(text)
}

fn copy<'k>(
    keys: &mut impl Iterator<Item = &'k [u8]>,
    count: u32,
    text: &mut Vec<u8>,
) -> Option<()> {
    for _ in 0..count {
        text.extend_from_slice(keys.next()?);
    }
    Some(())
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Sink for Vec<u8> {
        fn put(&mut self, bytes: &[u8]) -> bool {
            self.extend_from_slice(bytes);
            true
        }
    }

    fn encoded(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut sink = Vec::new();
        encode(key, text, &mut sink).unwrap();
        sink
    }

    #[test]
    fn a_counter_that_moved_costs_its_line() {
        let key = b"MemTotal: 1 kB\nMemFree: 2 kB\nBuffers: 3 kB\n";
        let text = b"MemTotal: 1 kB\nMemFree: 9 kB\nBuffers: 3 kB\n";
        let delta = encoded(key, text);
        assert_eq!(delta.len(), 4 + 8 + b"MemFree: 9 kB\n".len());
        assert_eq!(decode(key, &delta).unwrap(), text);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for delta in [
            &b""[..],
            b"\x02\0\0\0",                         // more lines than the key has
            b"\x01\0\0\0\0\0\0\0\xff\xff\xff\xff", // a line longer than what there is
            b"\x01\0\0\0\x09\0\0\0\x01\0\0\0x",    // more lines skipped than there are
            b"\x00\0\0\0\0\0\0\0\x01\0\0\0x",      // more lines than announced
        ] {
            assert_eq!(decode(b"one\n", delta), None, "{delta:?}");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(vec!["same\n", "other\n", "\n", "no line feed"]);
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(key in text(), text in text()) {
            prop_assert_eq!(decode(&key, &encoded(&key, &text)), Some(text));
        }

        #[test]
        fn any_bytes_are_borne(key in text(), delta in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(text) = decode(&key, &delta) {
                prop_assert!(text.len() <= key.len() + delta.len());
            }
        }
    }
}
