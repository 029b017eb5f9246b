//! `plimsoll guard log`: what was done, and why.

use crate::failure::{Failure, Kind};
use crate::terminal;
use jiff::Timestamp;
use plimsoll_guard::Policy;
use serde::Deserialize;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

/// What people are shown of a line.
#[derive(Deserialize)]
struct Line {
    unix_ms: u64,
    dry_run: bool,
    words: String,
}

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
                    Ok(line) => terminal::print(&words(&line))?,
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

/// UTC, as RFC 3339 has it.
fn when(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| unix_ms.to_string(), |time| format!("{time:.3}"))
}
