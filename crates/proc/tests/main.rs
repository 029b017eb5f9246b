//! The readers against the live kernel.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "a test that can't go on fails"
)]

mod found;
