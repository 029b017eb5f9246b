//! Pages out of a living process, and the pager that brings them back.
//!
//! ```text
//! out   stop -> look -> (swap | arm, store, drop) -> freeze -> let go
//! back  find the record -> pager listens -> thaw -> everything back -> disarm, close, forget
//! ```
//!
//! Two means: the kernel's swap where there is enough ([`swap`]), else a store of our own ([`store`]). What has
//! been done to a tree is written down ([`runtime`]) before it is done, so a plimsoll that is killed at any step
//! leaves a tree that runs, or waits, or is frozen, and that the next one can bring back
//! (`docs/design/005-parking.md`).

mod arm;
pub mod back;
pub mod check;
mod error;
mod family;
mod fault_point;
mod hand;
mod heirs;
pub mod known;
mod memory_group;
pub mod out;
pub mod own_memory;
pub mod pager;
pub mod plan;
pub mod restored;
pub mod runtime;
mod session;
mod shed;
pub mod source;
pub mod store;
pub mod swap;
pub mod view;
pub mod wake;

pub use error::{Kind, ParkError};
