//! The readers against the live kernel, and the parsers against text made as the kernel makes it.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on fails"
)]

mod found;
mod kernels;
mod process;
mod round_trips;
