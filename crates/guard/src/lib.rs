//! Pressure answered by a ladder per workload, that kills only last and says why.
//!
//! ```text
//! kernel files -> watch -> Observation -> decider (State, Policy) -> acts with their reasons -> scribe (log, journal)
//!                              ^                                        |
//!                              +-- outcomes <-- hands (processes) <-----+
//! ```
//!
//! | kind | modules |
//! | --- | --- |
//! | reader | [`watch`] |
//! | decider, pure | [`mod@decider`], with [`config`] and [`observation`]; [`mod@replay`] takes it through a recording |
//! | actors | [`hand`] (what is done), [`scribe`] (what is written), [`daemon`] (the loop), [`control`], [`notify`] |
//!
//! The decider knows nothing but observations, of which a line of JSON each makes a recording; a recording replays to the same
//! acts. The loop allocates nothing, forks nothing and waits for nobody. Why it became so: `docs/design/012-guard.md`.

pub mod config;
pub mod control;
pub mod daemon;
pub mod decider;
pub mod hand;
pub mod name;
pub mod notify;
pub mod observation;
mod rehearsal;
pub mod replay;
pub mod scribe;
pub mod watch;
mod words;

pub use config::Policy;
pub use daemon::{Guard, GuardError, Setup};
pub use decider::{Act, State, decide};
pub use name::Name;
pub use observation::Observation;
pub use replay::replay;
