//! `cargo xtask check | test | lab | bench`: what CI runs is what a person runs.

fn main() {}
