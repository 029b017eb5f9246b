//! Surgery tried on real processes.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod cost;
mod freezing;
mod looking;
mod stopping;
mod trees;
