//! System calls tried on real processes.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod dying;
mod pages;
mod remote;
