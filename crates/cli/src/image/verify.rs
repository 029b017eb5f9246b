//! `plimsoll image verify`: is the set complete, and what does it lack?

use super::args::Verify;
use super::unreadable;
use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::terminal;
use plimsoll_image::directory::OnDisk;
use plimsoll_image::verify::{Finding, Report, Weight, verify};
use plimsoll_proc::text::printable;
use serde::Serialize;

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    dir: String,
    complete: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Verifies a set.
pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    let report = verify(&OnDisk::new(&args.dir)).map_err(|error| unreadable(&args.dir, error))?;
    if args.json {
        let document = Told {
            schema: "plimsoll.image-verify/1",
            dir: args.dir.display().to_string(),
            complete: report.is_complete(),
            report: &report,
        };
        terminal::print(&json_line(&document)?)?;
    } else {
        terminal::print(&text(&report))?;
    }
    if report.is_complete() {
        return Ok(());
    }
    let faults = report.faults();
    let message = format!(
        "{}: {faults} faults, not to be restored from",
        args.dir.display()
    );
    Err(Failure::message(Kind::Refused, message))
}

fn text(report: &Report) -> String {
    let mut text: String = report.findings.iter().map(line).collect();
    if report.is_complete() {
        text.push_str(&format!(
            "complete: {} images, {} processes, {} pages stored\n",
            report.images, report.processes, report.stored_pages
        ));
    }
    text
}

fn line(finding: &Finding) -> String {
    let weight = match finding.weight {
        Weight::Broken => "broken",
        Weight::Missing => "missing",
        Weight::Contradiction => "contradiction",
        Weight::Note => "note",
    };
    let file = printable(finding.file.as_bytes());
    format!(
        "{weight:<13}  {file}: {}\n",
        printable(finding.text.as_bytes())
    )
}
