//! The kernel log in any of the forms that it is handed round in, taken down to what the kernel said.
//!
//! What stands before a message depends on who wrote it down: `/dev/kmsg` (`4,374,12253329,-;`), `dmesg` (`[12.345678] `,
//! `[Wed Mar 13 11:16:48 2024] `, `[  +0.002367] `, `<4>`), syslog and the journal (`Jun 18 07:44:52 host kernel: `, ISO times,
//! `journalctl -o short-monotonic`), pstore (`<4>[12.3] `), the kernel's own `[  T123]` (`CONFIG_PRINTK_CALLER`), and mails
//! that quote any of these (`> `). Each is known by its shape, line by line, so that a file may mix them.

mod skip;

use memchr::{memchr, memmem};
use plimsoll_proc::text::number;
use std::borrow::Cow;

/// One line of the kernel's.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// Its place in the file, from 1.
    pub number: usize,
    /// Seconds since boot, where the line tells.
    pub time_s: Option<f64>,
    /// What the kernel said, without leading blanks.
    pub text: Cow<'a, [u8]>,
}

/// A line that a mail program broke is put together up to this length.
const LONGEST_JOINED: usize = 4096;

/// How far into a line syslog's `kernel:` is looked for.
const LONGEST_SYSLOG_PREFIX: usize = 128;

/// All lines of a log.
#[must_use]
pub fn lines(log: &[u8]) -> Lines<'_> {
    Lines {
        log,
        rest: log,
        last_begins: 0,
        number: 0,
        ready: None,
        in_record: None,
    }
}

/// The lines of a log, one after the other.
#[derive(Debug)]
pub struct Lines<'a> {
    log: &'a [u8],
    rest: &'a [u8],
    /// Where the line begins that was read last.
    last_begins: usize,
    number: usize,
    /// Read too far: the line after the last one given.
    ready: Option<(Stripped<'a>, usize)>,
    /// What is left of a record that holds several lines (`\x0a` in `/dev/kmsg`), with its time and number.
    in_record: Option<(&'a [u8], Option<f64>, usize)>,
}

/// A line without what stood before it.
#[derive(Debug, Clone, Copy)]
struct Stripped<'a> {
    text: &'a [u8],
    time_s: Option<f64>,
    /// Whether anything stood before it.
    had_prefix: bool,
    /// Of `/dev/kmsg`: newlines are written `\x0a`.
    is_record: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if let Some((rest, time_s, number)) = self.in_record.take() {
            return Some(self.piece_of_record(rest, time_s, number));
        }
        let (first, number) = self.ready.take().or_else(|| self.stripped())?;
        if first.is_record {
            return Some(self.piece_of_record(first.text, first.time_s, number));
        }
        let mut text = Cow::Borrowed(first.text);
        if first.had_prefix {
            self.join_broken(&mut text);
            self.join_pieces(&mut text);
        }
        Some(Line {
            number,
            time_s: first.time_s,
            text: trimmed(text),
        })
    }
}

impl<'a> Lines<'a> {
    /// Lines without a prefix below one that has it, and without the blanks that the kernel begins its own second lines
    /// with, were broken by a mail program.
    fn join_broken(&mut self, text: &mut Cow<'a, [u8]>) {
        while let Some((next, number)) = self.stripped() {
            let is_broken_off = !next.had_prefix
                && next
                    .text
                    .first()
                    .is_some_and(|byte| !byte.is_ascii_whitespace())
                && text.len() + next.text.len() < LONGEST_JOINED;
            if !is_broken_off {
                self.ready = Some((next, number));
                return;
            }
            append(text, next.text);
        }
    }

    /// Linux 4.9 gave each piece of what it prints of a zone a line, with the prefix of one: `Node 0`, `DMA:`, `1*128kB`, `(U)`.
    fn join_pieces(&mut self, text: &mut Cow<'a, [u8]>) {
        while let Some((next, _)) = self.ready {
            let is_next_piece = next.had_prefix
                && !next.is_record
                && (is_lone_node(text) || is_piece_of_blocks(next.text))
                && text.len() + next.text.len() < LONGEST_JOINED;
            if !is_next_piece {
                return;
            }
            self.ready = None;
            append(text, next.text);
            self.join_broken(text);
        }
    }

    fn piece_of_record(&mut self, text: &'a [u8], time_s: Option<f64>, number: usize) -> Line<'a> {
        const NEWLINE: &[u8] = b"\\x0a";
        let end = memmem::find(text, NEWLINE);
        let piece = end.and_then(|end| text.get(..end)).unwrap_or(text);
        let rest = end.and_then(|end| text.get(end + NEWLINE.len()..));
        self.in_record = rest.map(|rest| (rest, time_s, number));
        Line {
            number,
            time_s,
            text: Cow::Borrowed(piece.trim_ascii_start()),
        }
    }

    fn stripped(&mut self) -> Option<(Stripped<'a>, usize)> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = self.rest.get(..end)?;
        self.last_begins = self.log.len() - self.rest.len();
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.number += 1;
        Some((strip(line), self.number))
    }
}

fn append(text: &mut Cow<'_, [u8]>, next: &[u8]) {
    let joined = text.to_mut();
    if joined.last().is_some_and(|byte| *byte != b' ') {
        joined.push(b' ');
    }
    joined.extend_from_slice(next);
}

/// `Node 0` and nothing behind it.
fn is_lone_node(text: &[u8]) -> bool {
    let node = text.trim_ascii().strip_prefix(b"Node ");
    node.is_some_and(|node| number(node).is_some())
}

/// `1*128kB`, `(UM)` or `= 128kB`.
fn is_piece_of_blocks(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    match text {
        [b'(', kinds @ .., b')'] => kinds.iter().all(u8::is_ascii_uppercase),
        [b'=', b' ', sum @ ..] => sum.ends_with(b"kB"),
        [b'0'..=b'9', ..] => text.ends_with(b"kB") && text.contains(&b'*'),
        _ => false,
    }
}

fn trimmed(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii_start()),
        Cow::Owned(text) => Cow::Owned(text.trim_ascii_start().to_vec()),
    }
}

fn strip(line: &[u8]) -> Stripped<'_> {
    let unquoted = unquote(line.strip_suffix(b"\r").unwrap_or(line));
    if let Some(stripped) = record(unquoted) {
        return stripped;
    }
    let mut left = Stripped {
        text: unquoted,
        time_s: None,
        had_prefix: false,
        is_record: false,
    };
    for step in [priority, clock, syslog, clock, caller] {
        if let Some((time_s, rest)) = step(left.text) {
            left.text = rest;
            left.time_s = time_s.or(left.time_s);
            left.had_prefix = true;
        }
    }
    left
}

/// A mail's `> > `.
fn unquote(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(b">") {
        line = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    line
}

/// `4,374,12253329,-;text` (`Documentation/ABI/testing/dev-kmsg`).
fn record(line: &[u8]) -> Option<Stripped<'_>> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let head_ends = memchr(b';', line.get(..64.min(line.len()))?)?;
    let mut fields = line.get(..head_ends)?.split(|byte| *byte == b',');
    number(fields.next()?)?;
    number(fields.next()?)?;
    let time_us = number(fields.next()?)?;
    fields.next()?;
    Some(Stripped {
        text: line.get(head_ends + 1..)?,
        time_s: Some(time_us as f64 / 1e6),
        had_prefix: true,
        is_record: true,
    })
}

/// `<4>`.
fn priority(text: &[u8]) -> Option<(Option<f64>, &[u8])> {
    let rest = text.strip_prefix(b"<")?;
    let end = memchr(b'>', rest.get(..4.min(rest.len()))?)?;
    number(rest.get(..end)?)?;
    Some((None, rest.get(end + 1..)?))
}

/// `[   12.345678] `, `[Wed Mar 13 11:16:48 2024] `, `[  +0.002367] `; not the `[  148]` of a table of tasks.
fn clock(text: &[u8]) -> Option<(Option<f64>, &[u8])> {
    let rest = text.strip_prefix(b"[")?;
    let end = memchr(b']', rest.get(..32.min(rest.len()))?)?;
    let inside = rest.get(..end)?.trim_ascii();
    let is_clock = inside.iter().any(|byte| matches!(byte, b'.' | b':'))
        && inside.iter().any(u8::is_ascii_digit);
    let plain = std::str::from_utf8(inside)
        .ok()
        .filter(|text| !text.starts_with('+'));
    let time_s = plain
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|time| time.is_finite());
    is_clock.then_some((time_s, rest.get(end + 1..)?))
}

/// `Jun 18 07:44:52 host kernel: `, `2024-03-13T11:16:48.1+01:00 host kernel: `; behind a clock also `host kernel: `; and what is
/// left where somebody took time and host away: `kernel: `.
fn syslog(text: &[u8]) -> Option<(Option<f64>, &[u8])> {
    const KERNEL: &[u8] = b" kernel:";
    if let Some(rest) = text.strip_prefix(b"kernel: ") {
        return Some((None, rest));
    }
    let head = text.get(..LONGEST_SYSLOG_PREFIX.min(text.len()))?;
    let at = memmem::find(head, KERNEL)?;
    // all before it are a date and a host name, or a host name behind a clock
    let words = text
        .get(..at)?
        .trim_ascii()
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let words = words.count();
    let has_time = text.get(..at)?.iter().filter(|byte| **byte == b':').count() >= 2;
    if words > 6 || words > 1 && !has_time {
        return None;
    }
    let rest = text.get(at + KERNEL.len()..)?;
    Some((None, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// `[  T123] ` or `[    C1] ` (`CONFIG_PRINTK_CALLER`).
fn caller(text: &[u8]) -> Option<(Option<f64>, &[u8])> {
    let rest = text.trim_ascii_start().strip_prefix(b"[")?;
    let end = memchr(b']', rest.get(..16.min(rest.len()))?)?;
    let inside = rest.get(..end)?.trim_ascii();
    number(
        inside
            .strip_prefix(b"T")
            .or_else(|| inside.strip_prefix(b"C"))?,
    )?;
    Some((None, rest.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &str) -> Vec<String> {
        lines(log.as_bytes())
            .map(|line| String::from_utf8_lossy(&line.text).into_owned())
            .collect()
    }

    #[test]
    fn every_form_comes_down_to_what_the_kernel_said() {
        for line in [
            "Mem-Info:",
            "[64377.426742] Mem-Info:",
            "[Wed Mar 13 11:16:48 2024] Mem-Info:",
            "[  +0.002367] Mem-Info:",
            "<4>[64377.426742] Mem-Info:",
            "<4>Mem-Info:",
            "4,374,12253329,-;Mem-Info:",
            "4,374,12253329,c,caller=T7;Mem-Info:",
            "Jun 18 07:44:52 host-1 kernel: [64377.426742] Mem-Info:",
            "Jun 18 07:44:52 host-1 kernel: Mem-Info:",
            "2024-03-13T11:16:48.123456+01:00 host kernel: [64377.426742] Mem-Info:",
            "[64377.426742] host kernel: Mem-Info:",
            "kernel: Mem-Info:",
            "[64377.426742][  T123] Mem-Info:",
            "[64377.426742][    C1] Mem-Info:",
            "> > [64377.426742] Mem-Info:",
            "> [64377.426742] Mem-Info:\r",
        ] {
            assert_eq!(texts(line), ["Mem-Info:"], "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_prefix_stays() {
        for line in [
            "[    148]     0   148     4661 dd",
            "[ pid ]   uid  tgid name",
            "a bad kernel: it says",
        ] {
            assert_eq!(texts(line), [line]);
        }
    }

    #[test]
    fn lines_that_a_mail_broke_and_lines_that_the_kernel_broke() {
        let log = "[1.0] Node 0 Normal free:1kB \nmin:2kB\n[2.0] active_anon:1\n   active_file:2\n[3.0] x";
        assert_eq!(
            texts(log),
            [
                "Node 0 Normal free:1kB min:2kB",
                "active_anon:1",
                "active_file:2",
                "x"
            ]
        );
        assert_eq!(texts("4,1,5,-;a:1\\x0a b:2\\x0a\n"), ["a:1", "b:2", ""]);
    }

    #[test]
    fn lines_that_linux_4_9_printed_in_pieces() {
        let log = "h kernel: Node 0 \nh kernel: DMA: \nh kernel: 1*4kB \nh kernel: (U) \nh kernel: 0*8kB \nh kernel: = 4kB\nh kernel: Node 0 \nh kernel: DMA32 free:8kB\nmin:4kB\nh kernel: x";
        let log = log.replace("h kernel", "[1.0] h kernel");
        assert_eq!(
            texts(&log),
            [
                "Node 0 DMA: 1*4kB (U) 0*8kB = 4kB",
                "Node 0 DMA32 free:8kB min:4kB",
                "x"
            ]
        );
    }

    #[test]
    fn times() {
        let times: Vec<_> =
            lines(b"[ 12.5] a\n4,1,2500000,-;b\n[Wed Mar 13 11:16:48 2024] c\n[+1.0] d")
                .map(|line| line.time_s)
                .collect();
        assert_eq!(times, [Some(12.5), Some(2.5), None, None]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_lines(log in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let newlines = log.iter().filter(|byte| **byte == b'\n').count();
            proptest::prop_assert!(lines(&log).all(|line| line.number <= newlines + 1));
        }
    }
}
