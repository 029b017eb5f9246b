//! Passing over stretches of a log of which nothing is wanted, without reading their lines.
//!
//! What the kernel said in one line may lie in several (`join_broken`, `join_pieces`), so it is gone on from where a line surely
//! begins: the lines that come then are those that would have come anyway.

use super::{LONGEST_JOINED, Lines, Stripped, is_lone_node, is_piece_of_blocks, strip};
use memchr::{memchr_iter, memrchr};
use plimsoll_proc::text::number;

impl Lines<'_> {
    /// Where in the log the line is that comes next.
    pub(crate) fn place(&self) -> usize {
        if self.ready.is_some() || self.in_record.is_some() {
            self.last_begins
        } else {
            self.read_to()
        }
    }

    fn read_to(&self) -> usize {
        self.log.len() - self.rest.len()
    }

    /// Passes over lines, but not over the one that holds this byte of the log.
    pub(crate) fn skip_to(&mut self, at: usize) {
        let Some(start) = self.beginning(self.place(), at) else {
            return;
        };
        let passed = self.log.get(self.read_to()..start);
        let (Some(passed), Some(rest)) = (passed, self.log.get(start..)) else {
            return;
        };
        self.number += memchr_iter(b'\n', passed).count();
        self.rest = rest;
        self.ready = None;
        self.in_record = None;
    }

    /// Where what the kernel said around `at` begins for sure, looked for backwards, behind `from`.
    fn beginning(&self, from: usize, at: usize) -> Option<usize> {
        let marked = from + last_line(self.log.get(from..at)?);
        let mut start = marked;
        let mut broken_off = 0;
        while start > from {
            let before = self.log.get(from..start - 1)?;
            let previous_start = last_line(before);
            let previous = strip(before.get(previous_start..)?);
            let line = self.log.get(start..)?.split(|byte| *byte == b'\n');
            if begins(&strip(line.clone().next()?), &previous) {
                return Some(start);
            }
            broken_off = if previous.had_prefix {
                0
            } else {
                broken_off + previous.text.len()
            };
            // So much is never put together: had these been broken off, the marked one would not have been joined to them.
            if broken_off >= LONGEST_JOINED {
                return Some(marked);
            }
            start = from + previous_start;
        }
        None
    }
}

/// Whether a line is joined to none before it.
fn begins(line: &Stripped<'_>, previous: &Stripped<'_>) -> bool {
    let may_end_lone_node =
        is_lone_node(previous.text) || number(previous.text.trim_ascii()).is_some();
    line.had_prefix && !is_piece_of_blocks(line.text) && !may_end_lone_node
}

/// Where the last line of a text begins.
fn last_line(text: &[u8]) -> usize {
    memrchr(b'\n', text).map_or(0, |newline| newline + 1)
}
