//! `plimsoll guard log`: what was done, and why.

use crate::failure::{Failure, Kind};
use crate::terminal;
use jiff::Timestamp;
use plimsoll_guard::Policy;
use plimsoll_record::soon_after;
use serde::Deserialize;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

/// What people are shown of a line.
#[derive(Deserialize)]
struct Line {
    unix_ms: u64,
    dry_run: bool,
    words: String,
    act: Option<Act>,
}

/// Whether anything was done.
#[derive(Deserialize)]
struct Act {
    whom: Option<serde::de::IgnoredAny>,
}

/// A recorder that is told of an act has written within so long.
const RECORDED_WITHIN_S: i64 = 30;

pub(super) fn run(policy: &Policy, json: bool) -> Result<(), Failure> {
    let path = Path::new(&policy.files.log);
    let mut any = false;
    // What was set aside when it was full comes first.
    for path in [path.with_extension("old"), path.to_owned()] {
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened?,
        };
        any = true;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let text = String::from_utf8_lossy(&line);
            match json {
                true => terminal::print(&format!("{text}\n"))?,
                // A line that was cut short by the end of the host says nothing.
                false => match serde_json::from_str::<Line>(&text) {
                    Ok(line) => terminal::print(&(words(&line) + &recorded(policy, &line)))?,
                    Err(_) => continue,
                },
            }
        }
    }
    if any {
        return Ok(());
    }
    let message = format!(
        "there is no log in {}: no guard has written one",
        path.display()
    );
    Err(Failure::message(Kind::Failed, message))
}

fn words(line: &Line) -> String {
    let would = if line.dry_run { "would " } else { "" };
    format!("{}  {would}{}\n", when(line.unix_ms), line.words)
}

/// Where the minutes before an act are, if somebody recorded them.
fn recorded(policy: &Policy, line: &Line) -> String {
    let acted = line.act.as_ref().is_some_and(|act| act.whom.is_some());
    let unix_s = i64::try_from(line.unix_ms / 1000).unwrap_or(i64::MAX);
    let directory = Path::new(&policy.files.recordings);
    let is_sought = acted && !line.dry_run && !directory.as_os_str().is_empty();
    let file = is_sought.then(|| soon_after(directory, unix_s, RECORDED_WITHIN_S));
    file.flatten().map_or_else(String::new, |file| {
        format!("    the minutes before it: {}\n", file.display())
    })
}

/// UTC, as RFC 3339 has it.
fn when(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| unix_ms.to_string(), |time| format!("{time:.3}"))
}
