//! Readers of `/proc` and `/sys`: bytes in, typed structs out, under a root.
//!
//! Every reader takes a [`Root`], which is the live host or a tree captured by `plimsoll capture`, so any
//! host's trouble can be replayed anywhere. Parsers take `&[u8]`: they never require UTF-8, never panic,
//! keep what they don't know, and give `Option` for what a kernel may lack. One kernel file, one module,
//! named after the file.

pub mod balloon;
pub mod boot_log;
pub mod buddyinfo;
pub mod cgroups;
mod counters;
mod dir;
pub mod found;
pub mod host;
pub mod kernel_text;
pub mod kmsg;
pub mod meminfo;
pub mod mountinfo;
pub mod page_counters;
pub mod page_size;
pub mod pagetypeinfo;
pub mod passwd;
pub mod pressure;
pub mod process;
mod root;
pub mod slabinfo;
pub mod state;
pub mod swaps;
pub mod sysctl;
pub mod sysvipc_shm;
mod tee;
pub mod text;
pub mod uptime;
pub mod vmallocinfo;
pub mod vmstat;
pub mod zoneinfo;
pub mod zram;

pub use dir::{Dir, DirId};
pub use root::{ReadError, Root};
pub use tee::Recorded;
