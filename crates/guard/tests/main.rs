//! The guard from outside; allocations are counted.
#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, clippy::panic)]

mod hands;
mod manual;
mod replay;
mod turns;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
