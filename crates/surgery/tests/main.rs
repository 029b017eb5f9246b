//! Surgery tried on real processes.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod freezing;
mod looking;
mod stopping;
