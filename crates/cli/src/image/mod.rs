//! `plimsoll image`: checkpoint images looked at, verified, converted and compared. Needs no privileges.

pub(crate) mod args;
mod convert;
mod diff;
mod show;
mod text;
mod verify;

use crate::failure::{Failure, Kind};
use args::{Image, ImageVerb};
use plimsoll_image::ImageError;
use std::io;
use std::path::Path;

/// Runs one of its verbs.
pub(crate) fn run(args: &Image) -> Result<(), Failure> {
    match &args.verb {
        ImageVerb::Show(args) => show::run(args),
        ImageVerb::Verify(args) => verify::run(args),
        ImageVerb::Convert(args) => convert::run(args),
        ImageVerb::Diff(args) => diff::run(args),
    }
}

/// What became of a path that could not be read.
fn unreadable(path: &Path, error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => Kind::NotPermitted,
        _ => Kind::Failed,
    };
    Failure::new(
        kind,
        anyhow::Error::new(error).context(format!("cannot read {}", path.display())),
    )
}

/// What is wrong with an image.
fn broken(path: &Path, error: ImageError) -> Failure {
    match error {
        ImageError::Io { source, .. } => unreadable(path, source),
        error => Failure::new(
            Kind::Failed,
            anyhow::Error::new(error).context(path.display().to_string()),
        ),
    }
}
