//! What a finding stands on: a figure, and where anybody can look it up.

use plimsoll_units::Bytes;
use serde::Serialize;
use std::fmt::Display;

/// A figure with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file, or how else it was learnt.
    pub source: String,
    /// The line or column in it.
    pub field: String,
    /// What it says, for people.
    pub value: String,
    /// The same in bytes; `null` where it is no amount of memory.
    pub bytes: Option<Bytes>,
}

impl Evidence {
    /// An amount of memory.
    pub(super) fn bytes(source: &str, field: &str, bytes: Bytes) -> Self {
        Self {
            source: source.to_owned(),
            field: field.to_owned(),
            value: bytes.to_string(),
            bytes: Some(bytes),
        }
    }

    /// Anything else.
    pub(super) fn text(source: &str, field: &str, value: impl Display) -> Self {
        Self {
            source: source.to_owned(),
            field: field.to_owned(),
            value: value.to_string(),
            bytes: None,
        }
    }
}
