//! Cutting lines at words, keys and units.

use plimsoll_proc::text::{number, printable};

/// Where a mark stands in a line. Lines are short: to prepare a search takes longer than to look at each place where it may begin.
pub(super) fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    let first = *mark.first()?;
    memchr::memchr_iter(first, text)
        .find(|at| text.get(*at..).is_some_and(|text| text.starts_with(mark)))
}

/// Bytes that people may see.
pub(super) fn shown(bytes: &[u8]) -> String {
    printable(bytes.trim_ascii()).into_owned()
}

/// What stands between two marks, from the first of the one to the next of the other; to the end, where that is missing.
pub(super) fn between<'t>(text: &'t [u8], from: &[u8], to: &[u8]) -> Option<&'t [u8]> {
    let rest = after(text, from)?;
    let end = find(rest, to).unwrap_or(rest.len());
    rest.get(..end)
}

/// What stands after a mark.
pub(super) fn after<'t>(text: &'t [u8], mark: &[u8]) -> Option<&'t [u8]> {
    let at = find(text, mark)?;
    text.get(at + mark.len()..)
}

/// What stands before a mark.
pub(super) fn before<'t>(text: &'t [u8], mark: &[u8]) -> Option<&'t [u8]> {
    text.get(..find(text, mark)?)
}

/// The number that a text begins with, and what follows it.
pub(super) fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((number(digits)?, rest))
}

/// The same with a sign.
pub(super) fn leading_signed(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = i64::try_from(leading_number(digits)?.0).ok()?;
    Some(if negative { -value } else { value })
}

/// The number after a key, blanks between them passed over.
pub(super) fn number_after(text: &[u8], key: &[u8]) -> Option<u64> {
    Some(leading_number(after(text, key)?.trim_ascii_start())?.0)
}

/// The same with a sign.
pub(super) fn signed_after(text: &[u8], key: &[u8]) -> Option<i64> {
    leading_signed(after(text, key)?.trim_ascii_start())
}

/// What a number in a line is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// None: pages, mostly.
    Plain,
    /// `kB`, in either case.
    Kb,
}

/// Every `key:number` and `key: numberkB` of a line; keys in lower case, `isolated(anon)` as `isolated_anon`.
pub(super) fn pairs(line: &[u8]) -> impl Iterator<Item = (String, u64, Unit)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        loop {
            let colon = memchr::memchr(b':', rest)?;
            let (head, tail) = (rest.get(..colon)?, rest.get(colon + 1..)?);
            rest = tail;
            let key = head
                .rsplit(|byte| matches!(byte, b' ' | b',' | b'\t'))
                .next()?;
            let Some((value, behind)) = leading_number(tail.trim_ascii_start()) else {
                continue;
            };
            let unit = match behind.get(..2) {
                Some(unit) if unit.eq_ignore_ascii_case(b"kb") => Unit::Kb,
                _ => Unit::Plain,
            };
            rest = behind;
            return Some((plain_key(key), value, unit));
        }
    })
}

fn plain_key(key: &[u8]) -> String {
    let key = shown(key).to_ascii_lowercase();
    key.replace('(', "_").replace(')', "")
}
