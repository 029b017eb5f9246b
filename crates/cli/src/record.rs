//! `plimsoll record`: says that it runs, what it has written, and how it went.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::terminal;
use anyhow::Context;
use plimsoll_record::{Note, RecordError, Recorder, Settings};
use plimsoll_units::Bytes;
use serde::Serialize;
use std::os::fd::AsFd;

const SCHEMA: &str = "plimsoll.record/1";

/// Records until it is interrupted.
pub(crate) fn run(args: &args::Record) -> Result<(), Failure> {
    let settings = Settings {
        every: args.every,
        directory: args.dir.clone(),
    };
    let cannot_wait = |error| Failure::new(Kind::Fault, error);
    let end = Interrupt::catch()
        .context("cannot wait for signals")
        .map_err(cannot_wait)?;
    let asked = Interrupt::asked()
        .context("cannot wait for signals")
        .map_err(cannot_wait)?;
    let mut note = |note| tell(note, args);
    let recorder = Recorder::prepare(&settings, &mut note)?;
    eprintln!(
        "Recording: a beat every {} s into {} of memory. Ctrl-C ends it; kill -USR1 {} has it written to {}.",
        args.every.as_secs_f64(),
        Bytes(recorder.ring_bytes() as u64),
        std::process::id(),
        args.dir.display()
    );
    let ended = recorder.run(end.as_fd(), asked.as_fd(), &mut note)?;
    if args.json {
        print(&Told::Ended {
            schema: SCHEMA,
            beats: ended.beats,
            longest_gap_ms: ended.longest_gap.as_millis(),
        });
    } else {
        eprintln!(
            "{} beats; the longest time from one to the next was {} ms",
            ended.beats,
            ended.longest_gap.as_millis()
        );
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'n> {
    Written {
        schema: &'static str,
        path: &'n str,
        reason: &'static str,
        unix_s: i64,
        content_bytes: u64,
    },
    Ended {
        schema: &'static str,
        beats: u64,
        longest_gap_ms: u128,
    },
}

/// One line; it goes on when nobody listens any more.
fn print(told: &Told<'_>) {
    if let Ok(line) = serde_json::to_string(told) {
        let _ = terminal::print(&(line + "\n"));
    }
}

fn tell(note: Note, args: &args::Record) {
    match note {
        Note::Weaker(what, error) => eprintln!("plimsoll: note: {what}: {error}"),
        Note::NotWritten(error) => {
            eprintln!(
                "plimsoll: cannot write a recording into {}: {error}",
                args.dir.display()
            );
        }
        Note::Written(written, name) => {
            let path = args.dir.join(name).display().to_string();
            if args.json {
                print(&Told::Written {
                    schema: SCHEMA,
                    path: &path,
                    reason: written.reason.name(),
                    unix_s: written.unix_s,
                    content_bytes: written.bytes,
                });
            } else {
                eprintln!("{path} ({})", Bytes(written.bytes));
            }
        }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        let kind = match &error {
            RecordError::Directory(_, source)
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Kind::NotPermitted
            }
            RecordError::Proc(_) | RecordError::Directory(..) => Kind::Failed,
            RecordError::Thread(_) | RecordError::Wait(_) => Kind::Fault,
        };
        Self::new(kind, error)
    }
}
