//! Images as `crit decode --pretty` prints them: the same names, the same spelling of values.
//!
//! A [`Shown`] is one value, seen through the options of its field; [`Document`] is a whole image as JSON, written while it is
//! read, so that its size does not matter. What `crit` can't show, fields that nobody knows, stands under `unknown_fields`.

mod document;
mod quoted;
mod style;
mod value;

pub use document::Document;
pub use value::{Shown, ShownList, ShownMessage, UnknownField};
