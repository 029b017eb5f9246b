//! The units that every other room speaks: [`Bytes`], [`Pages`], [`PageSize`] and [`Limit`].
//!
//! A number that leaves a reader carries its unit in its type, so that a page count is never added to a
//! byte count and "no limit" is never a very large number. Arithmetic that could wrap saturates: a figure
//! read from a hostile file may be wrong, but it never panics and never turns small.
//!
//! Kernel files speak kB, pages and bytes by turns; readers convert at their edge
//! (`Documentation/filesystems/proc.rst`).

mod bytes;
mod limit;
mod pages;

pub use bytes::{Bytes, ParseBytesError};
pub use limit::Limit;
pub use pages::{PageSize, Pages};
