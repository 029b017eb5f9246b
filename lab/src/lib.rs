//! The lab: guests with other kernels than this machine's, where tests and captures may do as they like.
//!
//! A guest is a virtual machine that boots one of Debian's kernels into a file system in RAM, made for this
//! one run: busybox, our own programs built static, whatever was copied in, and an agent as its first process.
//! The agent runs one command, sends its output, the files that were asked for and its exit status over a
//! serial port of its own, and ends the machine. Nothing of a guest outlives its run.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`guest`](Guest) | one run, from the files to the exit status |
//! | `kernels`, `apt` | Debian's kernels and busybox, fetched as packages once and cached |
//! | `modules`, `cpio`, `initramfs` | the file system that the guest boots into |
//! | `binaries` | our own programs, linked statically |
//! | `qemu` | the emulator: KVM where it boots a guest, software emulation elsewhere |
//! | [`frame`], [`request`] | what host and agent say to each other |
//! | `agent/` | the first process of the guest |

mod apt;
mod binaries;
mod cpio;
pub mod frame;
mod guest;
mod initramfs;
mod kernels;
mod modules;
mod qemu;
pub mod request;

pub use frame::Stream;
pub use guest::{Guest, Outcome};
pub use kernels::{Kernel, cache_dir};
