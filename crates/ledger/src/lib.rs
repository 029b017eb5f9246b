//! Who owns every page of RAM, and what the kernel has promised. Pure: readers' samples in, accounts out.
//!
//! [`look()`] takes what readers brought, a [`Sample`], to the whole account. Module [`mod@look`] holds its shape
//! (`plimsoll.look/1`); each other module makes one part of it.

pub mod commit;
pub mod found;
pub mod groups;
pub mod host;
pub mod look;
pub mod mappings;
pub mod process;
mod sample;

pub use sample::{Sample, look};
