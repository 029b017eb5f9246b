//! What the measurements in `src/bin` share. Each binary is one measurement: it prints its figures beside what is
//! asked of them, and fails only where it could not measure. `cargo xtask bench` runs them all.

pub mod checkpoint;
pub mod exporter;
pub mod fleet;
pub mod parking;
pub mod sizes;
pub mod timing;
