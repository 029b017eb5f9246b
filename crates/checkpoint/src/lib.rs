//! A process tree into images, and images into a process tree. Both ways everything happens from outside: no code is
//! injected, single system calls are executed by stopped threads (`docs/design/008-checkpoint.md`).
//!
//! ```text
//! dump/     the tree is stopped and looked into, resource by resource; a Snapshot and pages are written
//! snapshot  what a set of images says, as CRIU's messages
//! restore/  a Snapshot is made into tasks of our own, which execute the calls that give them what they had
//! ```

mod cgroup;
pub mod coverage;
mod dump;
mod error;
mod fault_point;
mod file_order;
mod inet_address;
mod ip_options;
mod ip_packet;
mod ipc;
mod lease;
mod namespace;
mod obstacle;
mod packet_options;
mod pieces;
mod registers;
mod restore;
mod set;
mod sharing;
mod snapshot;
mod socket_options;
mod tcp;
mod tty;
mod vma;

pub use dump::{After, Dump, Dumped, Options, obstacles};
pub use error::Error;
pub use obstacle::Obstacle;
pub use restore::{Figures, GroupRoots, Kinship, ManageGroups, Restore, Restored};
pub use set::Place;

// What both ways need to read of `/proc`.
pub(crate) use dump::{credentials_of, limits_of, settable_signals};
