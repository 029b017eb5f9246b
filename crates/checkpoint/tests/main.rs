//! Trees checkpointed and restored, by ourselves and together with CRIU.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod ahead;
mod building;
mod criu;
mod failing;
mod files;
mod filters;
mod going_on;
mod groups;
mod killed;
mod lazily;
mod memory;
mod mpi;
mod postgres;
mod real;
mod runtimes;
mod segments;
mod sharing;
mod shell;
mod sockets;
mod terminals;
mod tree;
mod watching;
