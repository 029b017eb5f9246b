//! The program as people and scripts meet it: run whole, in an environment of its own.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is tests"
)]

mod bounded;
mod capture;
mod check;
mod checkpointed;
mod explained;
mod explained_guests;
mod guarded;
mod guarded_guests;
mod guests;
mod healthy;
mod held;
mod held_guests;
mod help;
mod hostile;
mod hostile_tree;
mod look;
mod oom_guests;
mod oom_sources;
mod ordinary_user;
mod parked_guests;
mod program;
mod real;
mod record;
mod recorded;
mod scenes;
mod unprivileged;
mod watch;
