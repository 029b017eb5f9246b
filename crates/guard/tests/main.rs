//! The guard from outside.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod replay;
