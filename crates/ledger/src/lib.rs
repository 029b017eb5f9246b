//! Who owns every page of RAM, and what the kernel has promised. Pure: readers' samples in, accounts out.
//!
//! [`look`] holds the shape that people and programs see (`plimsoll.look/1`); the other modules fill it.

pub mod groups;
pub mod host;
pub mod look;
