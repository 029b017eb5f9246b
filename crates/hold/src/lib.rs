//! Holds: two numbers for a workload, RAM and swap, instead of 22 knobs.
//!
//! RAM counts all that the workload makes the kernel hold: its own memory, kernel memory, page cache, dentries and inodes. The
//! sum of both numbers is always kept. Over RAM its caches go first, it is slowed, then its pages go to swap.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | [`host`] | which interface, swap and manager the host has | reader |
//! | [`plan`] | what is written where, in which order, and what has to be said | decider, pure |
//! | [`apply`] | carries a plan out, and undoes it | actor |
//! | [`place`] | the group to be held: a group that is there, or one of our own | actor |
//! | [`systemd`] | the same by systemd's means | pure, and an actor |
//! | [`record`] | what is held on this host, on tmpfs | actor |
//! | [`holding`] | held, shown as held, released: the verbs | actor |
//! | [`show`] | what a hold holds, and how often it was refused | reader |
//! | [`beancounters`] | what OpenVZ containers were allowed, as two numbers | reader, decider |
//!
//! `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`; why it is so: `docs/design/011-holds.md`.

pub mod apply;
pub mod beancounters;
mod error;
pub mod holding;
pub mod host;
mod numbers;
pub mod place;
pub mod plan;
pub mod record;
pub mod show;
pub mod systemd;

pub use error::{HoldError, Kind};
pub use numbers::{Asked, Numbers};
