//! The ledger against the live kernel.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on fails"
)]

mod commit;
mod groups;
mod host;
mod quiet;
