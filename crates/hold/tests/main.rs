//! Beancounter files, and holds on this host.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is tests"
)]

mod containers;
mod documented;
