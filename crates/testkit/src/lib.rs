//! What the tests stand on: needs that are declared, and victims that check themselves.
//!
//! A test that wants more than any machine gives says so in its first line:
//!
//! ```
//! use plimsoll_testkit::need;
//!
//! # fn a_test() {
//! need!(Root, Psi, Program("redis-server"));
//! # }
//! ```
//!
//! A missing need skips the test loudly and is counted; it never passes for a success (see [`needs`]). One whose pids and
//! ports nobody else may take says [`apart!`] next (see [`mod@apart`]).
//! This crate may use `units` and `sys` and nothing else of ours, so every other crate can test with it.

pub mod apart;
pub mod documented;
pub mod needs;
pub mod own_group;
mod probe;
pub mod puppet;
mod skips;
pub mod victim;

pub use needs::Need;
pub use own_group::OwnGroup;
pub use probe::criu;
pub use victim::Victim;
