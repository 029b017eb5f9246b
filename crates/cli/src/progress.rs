//! How far parking or resuming has got: one line on the terminal, rewritten; or JSON lines for a program.
//!
//! ```text
//! {"schema":"plimsoll.progress/1","verb":"resume","pid":4711,"done_bytes":268435456,"of_bytes":1073741824}
//! ```

use plimsoll_units::Bytes;
use rustix::termios::isatty;
use serde::Serialize;
use std::io::Write;
use std::time::{Duration, Instant};

/// How often it is told.
const EVERY: Duration = Duration::from_millis(100);

/// How the work on one tree goes.
pub(crate) struct Progress {
    verb: &'static str,
    pid: u32,
    how: How,
    shown: bool,
    last: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    NotAtAll,
    Line,
    Json,
}

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    verb: &'static str,
    pid: u32,
    done_bytes: u64,
    of_bytes: u64,
}

impl Progress {
    /// On standard error: as JSON lines where that is asked for, else where it is a terminal.
    pub(crate) fn new(verb: &'static str, pid: u32, json: bool) -> Self {
        Self {
            verb,
            pid,
            how: match json {
                true => How::Json,
                false if isatty(std::io::stderr()) => How::Line,
                false => How::NotAtAll,
            },
            shown: false,
            last: Instant::now(),
        }
    }

    pub(crate) fn tell(&mut self, done: u64, of: u64) {
        if self.last.elapsed() < EVERY || self.how == How::NotAtAll {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let text = match self.how {
            How::Json => {
                let told = Told {
                    schema: "plimsoll.progress/1",
                    verb: self.verb,
                    pid: self.pid,
                    done_bytes: done,
                    of_bytes: of,
                };
                serde_json::to_string(&told).unwrap_or_default() + "\n"
            }
            _ => {
                let what = if self.verb == "park" { "out" } else { "back" };
                format!(
                    "\r{}: {} of {} {what}\x1b[K",
                    self.pid,
                    Bytes(done),
                    Bytes(of)
                )
            }
        };
        let mut stderr = std::io::stderr().lock();
        let _ = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }

    pub(crate) fn end(&self) {
        if self.shown && self.how == How::Line {
            eprint!("\r\x1b[K");
        }
    }
}
