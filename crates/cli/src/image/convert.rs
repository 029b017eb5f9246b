//! `plimsoll image convert`: a set in another form.

use super::args::{Convert, ToForm};
use crate::args;
use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::terminal;
use plimsoll_image::convert::{ConvertError, Converted, Form, convert};
use plimsoll_image::packed::Codec;
use plimsoll_units::Bytes;
use serde::Serialize;
use std::io;

#[derive(Serialize)]
struct Told {
    schema: &'static str,
    dir: String,
    out: String,
    #[serde(flatten)]
    converted: Converted,
}

/// Converts a set.
pub(crate) fn run(args: &Convert) -> Result<(), Failure> {
    let codec = match args.codec {
        args::Codec::Lz4 => Codec::Lz4,
        args::Codec::Zstd => Codec::Zstd,
        args::Codec::None => Codec::None,
    };
    let form = match args.to {
        ToForm::Raw => Form::Raw,
        ToForm::Packed => Form::Packed(codec),
        ToForm::Lazy => Form::Lazy(codec),
    };
    let converted = convert(&args.dir, &args.out, form, args.parent.as_deref()).map_err(failure)?;
    if !args.json {
        return Ok(terminal::print(&line(&converted))?);
    }
    let document = Told {
        schema: "plimsoll.image-convert/1",
        dir: args.dir.display().to_string(),
        out: args.out.display().to_string(),
        converted,
    };
    Ok(terminal::print(&json_line(&document)?)?)
}

fn failure(error: ConvertError) -> Failure {
    let kind = match &error {
        ConvertError::Faults { .. } => Kind::Refused,
        ConvertError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Kind::NotPermitted
        }
        _ => Kind::Failed,
    };
    let refused = kind == Kind::Refused;
    let failure = Failure::new(kind, error);
    if refused {
        failure.hint("plimsoll image verify names them all")
    } else {
        failure
    }
}

fn line(done: &Converted) -> String {
    let mut line = format!(
        "{} pages: {} zero, {} there already; {} written",
        done.pages,
        done.zero_pages,
        done.repeated_pages,
        Bytes(done.bytes)
    );
    if done.later_pages > 0 {
        let later = format!(
            ", and {} for {} pages that may come later",
            Bytes(done.later_bytes),
            done.later_pages
        );
        line.push_str(&later);
    }
    line.push('\n');
    line
}
