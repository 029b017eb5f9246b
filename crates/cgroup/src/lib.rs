//! cgroup v1 and v2: what a group holds, its limits and its pressure, under a [`plimsoll_proc::Root`].
//!
//! [`mount`] finds where the controllers are mounted, [`walk`] goes through a tree that changes meanwhile,
//! [`v1`] and [`v2`] know the files of a group, [`sample`] reads those that `look` needs of every group.
//! These are readers: a file that a kernel lacks is `None`, a group that was removed is passed over.
//! [`mod@write`] holds all that changes groups.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

mod error;
pub mod format;
pub mod mount;
pub mod sample;
pub mod v1;
pub mod v2;
pub mod walk;
pub mod write;

pub use error::Error;
