//! The page size of the host that is read: `sysconf(_SC_PAGESIZE)`, which a capture keeps in [`CAPTURED`].

use crate::text::number;
use crate::{ReadError, Root};
use plimsoll_units::PageSize;
use std::io::{Error, ErrorKind};

/// Where a captured tree keeps the page size, in bytes, decimal.
pub const CAPTURED: &str = "plimsoll/page_size";

/// The page size.
///
/// # Errors
/// In a captured tree that does not say.
pub fn read(root: &Root) -> Result<PageSize, ReadError> {
    let text = if root.is_live() {
        let size = rustix::param::page_size().to_string();
        root.record(CAPTURED, size.as_bytes());
        size.into_bytes()
    } else {
        root.read(CAPTURED)?
    };
    let size = number(text.trim_ascii()).and_then(PageSize::new);
    size.ok_or_else(|| {
        ReadError::new(
            "make sense of",
            CAPTURED.into(),
            Error::from(ErrorKind::InvalidData),
        )
    })
}
