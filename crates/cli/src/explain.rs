//! `plimsoll explain`: what is read, and how its findings are shown.

mod findings;
mod findings_view;
mod oom;
mod oom_view;
mod overcommit;
mod overcommit_view;
mod paragraphs;
mod source;

use crate::args::{self, ExplainWhat};
use crate::failure::{Failure, Kind};
use serde::Serialize;

/// Explains as asked.
pub(crate) fn run(args: &args::Explain) -> Result<(), Failure> {
    match &args.what {
        None => findings::run(args),
        Some(ExplainWhat::Oom(args)) => oom::run(args),
        Some(ExplainWhat::Overcommit(args)) => overcommit::run(args),
    }
}

/// One document.
fn json(document: &impl Serialize) -> Result<String, Failure> {
    let mut text =
        serde_json::to_string_pretty(document).map_err(|error| Failure::new(Kind::Fault, error))?;
    text.push('\n');
    Ok(text)
}
