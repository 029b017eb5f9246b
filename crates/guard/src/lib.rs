//! Pressure answered by a ladder per workload, that kills only last and says why.
//!
//! ```text
//! kernel files -> Observation -> decider (State, Policy) -> acts, each with its reasons -> log, hands
//!                       ^                                                                      |
//!                       +---------------------------- outcomes -------------------------------+
//! ```
//!
//! The decider is pure: no clock, no file, no privilege, and no allocation once its [`decider::State`] is made. What it sees is all in
//! [`Observation`]s, of which a line of JSON each makes a recording; a recording replays to the same acts
//! ([`replay()`]). Why it became so: `docs/design/012-guard.md`.

pub mod config;
pub mod decider;
pub mod name;
pub mod observation;
pub mod replay;

pub use config::Policy;
pub use decider::{Act, State, decide};
pub use name::Name;
pub use observation::Observation;
pub use replay::replay;
