//! `plimsoll image diff`: two sets compared.

use super::args::Diff;
use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::terminal;
use plimsoll_image::diff::{DiffError, Difference, FieldDifference, MemoryDifference, diff};
use plimsoll_image::directory::OnDisk;
use plimsoll_proc::text::printable;
use serde::Serialize;
use std::io;

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    a: String,
    b: String,
    same: bool,
    #[serde(flatten)]
    difference: &'a Difference,
}

/// Compares two sets.
pub(crate) fn run(args: &Diff) -> Result<(), Failure> {
    let difference = diff(&OnDisk::new(&args.a), &OnDisk::new(&args.b)).map_err(failure)?;
    let same = difference.is_none();
    if args.json {
        let document = Told {
            schema: "plimsoll.image-diff/1",
            a: args.a.display().to_string(),
            b: args.b.display().to_string(),
            same,
            difference: &difference,
        };
        terminal::print(&json_line(&document)?)?;
    } else {
        terminal::print(&text(&difference))?;
    }
    if same {
        return Ok(());
    }
    let message = format!("{} and {} differ", args.a.display(), args.b.display());
    Err(Failure::message(Kind::Failed, message))
}

fn failure(error: DiffError) -> Failure {
    let denied = matches!(&error, DiffError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    Failure::new(
        if denied {
            Kind::NotPermitted
        } else {
            Kind::Failed
        },
        error,
    )
}

fn text(difference: &Difference) -> String {
    let mut text = String::new();
    for (where_, names) in [
        ("first", &difference.only_in_a),
        ("second", &difference.only_in_b),
    ] {
        for name in names {
            text.push_str(&format!("{name}: only in the {where_}\n"));
        }
    }
    for image in &difference.images {
        text.push_str(&format!("{}: {} fields differ\n", image.file, image.count));
        image
            .fields
            .iter()
            .for_each(|field| text.push_str(&field_line(field)));
        let more = image.count.saturating_sub(image.fields.len() as u64);
        if more > 0 {
            text.push_str(&format!("  and {more} more\n"));
        }
    }
    difference
        .memory
        .iter()
        .for_each(|memory| text.push_str(&memory_line(memory)));
    text
}

fn field_line(field: &FieldDifference) -> String {
    let shown = |value: &Option<String>| match value {
        Some(value) => printable(value.trim_end().as_bytes()).into_owned(),
        None => "-".to_owned(),
    };
    format!(
        "  {}: {} | {}\n",
        field.path,
        shown(&field.a),
        shown(&field.b)
    )
}

fn memory_line(memory: &MemoryDifference) -> String {
    let mut line = format!(
        "{}: {} pages differ, {} are only in the first, {} only in the second",
        memory.file, memory.changed_pages, memory.only_in_a_pages, memory.only_in_b_pages
    );
    if let Some(first) = memory.addresses.first() {
        line.push_str(&format!("; the first at {first:#x}"));
    }
    line.push('\n');
    line
}
