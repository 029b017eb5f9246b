//! Parking, tested from outside.

#[cfg(test)]
mod store;
