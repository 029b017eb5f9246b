//! Beancounters: what an OpenVZ container was allowed, read and turned into two numbers.
//!
//! | file | what it does | kind |
//! | --- | --- | --- |
//! | [`parameters`] | the 22 parameters: their units, what they meant, what there is today | a table |
//! | [`mod@read`] | `/proc/user_beancounters`, and configurations like those in `/etc/vz/conf` | reader |
//! | [`mod@convert`] | a container's values to two numbers, each parameter accounted for | decider, pure |
//! | [`check`] | what is wrong with the values: leftovers, sums that can't be, more sold than there is | decider, pure |
//! | [`mod@write`] | the same as a systemd drop-in or an LXC configuration | pure |
//!
//! Two kinds of configuration are told apart as the kernel's tools did: where `physpages` has a limit, it is a **vSwap**
//! container, whose RAM that is and whose other limits count no more; else it is held by the classic beancounters.
//! `vzctl(8)`, the OpenVZ wiki's pages UBC, VSwap and "UBC consistency check".

pub mod check;
pub mod convert;
pub mod parameters;
pub mod read;
pub mod write;

pub use convert::{Conversion, convert};
pub use parameters::Parameter;
pub use read::{Container, read};
