//! `plimsoll explain oom`: a log in, its reports explained.

use super::source::{self, Source};
use super::{json, oom_view};
use crate::args;
use crate::failure::{Failure, Kind};
use crate::terminal::{self, Terminal};
use plimsoll_explain::oom::{Document, SCHEMA, Verdict, compare, explain};
use plimsoll_explain::report::reports;
use plimsoll_proc::Root;
use std::path::Path;

/// Explains every report of a log.
pub(crate) fn run(args: &args::ExplainOom) -> Result<(), Failure> {
    let (source, verdicts) = match &args.file {
        Some(file) => of_file(file)?,
        None => of_this_host()?,
    };
    let comparison = match &args.against {
        Some(file) => Some(compare(
            last(&verdicts, &source)?,
            last(&of_file(file)?.1, &file.display().to_string())?,
        )),
        None => None,
    };
    let document = Document {
        schema: SCHEMA,
        source,
        reports: verdicts,
        comparison,
    };
    let shown = if args.json {
        json(&document)?
    } else {
        oom_view::view(&document, &Terminal::of_stdout())
    };
    Ok(terminal::print(&shown)?)
}

fn of_file(file: &Path) -> Result<(String, Vec<Verdict>), Failure> {
    let source = source::of_path(file)?;
    Ok((source.name, explain(&reports(&source.log))))
}

/// The first place that has a report; where none has, the first is told.
fn of_this_host() -> Result<(String, Vec<Verdict>), Failure> {
    let running = source::running_kernel(&Root::live())?;
    let verdicts = explain(&reports(&running.log));
    if !verdicts.is_empty() {
        return Ok((running.name, verdicts));
    }
    for source in [source::pstore as fn() -> Option<Source>, source::journal] {
        if let Some(source) = source() {
            let verdicts = explain(&reports(&source.log));
            if !verdicts.is_empty() {
                return Ok((source.name, verdicts));
            }
        }
    }
    Ok((running.name, verdicts))
}

fn last<'v>(verdicts: &'v [Verdict], source: &str) -> Result<&'v Verdict, Failure> {
    let none = || Failure::message(Kind::Failed, format_args!("no OOM report in {source}"));
    verdicts.last().ok_or_else(none)
}
