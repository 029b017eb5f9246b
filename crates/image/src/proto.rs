//! CRIU's messages as Rust types, made from `proto/*.proto` by `build.rs`.
//!
//! Names are CRIU's, in Rust's spelling: `mm_entry` is [`MmEntry`], `task_core_entry` is [`TaskCoreEntry`]; what a field
//! means is what CRIU means by it. A required field is plain, an optional one an `Option`, a repeated one a `Vec`, an
//! enum an `i32` with a getter of the same name. Text is bytes, since the kernel's names are (`proto/README.md`).
//!
//! These types hold the fields they know. [`crate::Entry`] holds the others with them, and [`crate::dynamic`] sees all.

#![allow(missing_docs)] // their documentation is CRIU's
#![allow(clippy::all)] // nor is their style ours

include!(concat!(env!("OUT_DIR"), "/_.rs"));
