//! What the bench of parking is made of: a victim that answers, the ways to get it out of memory and back, and the
//! disks and swap areas that are made for the run and gone after it.

pub mod disk;
pub mod swap;
pub mod undo;
pub mod victim;
pub mod way;
