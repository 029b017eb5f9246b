//! cgroup readers against captured files, against no files and broken files, and against live groups.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of it is tests"
)]

mod live;
mod readers;
mod written;
