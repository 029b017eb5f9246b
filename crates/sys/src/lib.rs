//! Raw Linux: thin, typed wrappers of the system calls that no well-kept crate offers, and the only crate
//! that may contain `unsafe`.
//!
//! Each file that needs it opts in with `#![allow(unsafe_code)]` and a `# Safety` header; every block says
//! why each condition of its callee holds. What `rustix` already offers safely is not wrapped again.

pub mod blank;
pub mod bpf;
pub mod event_files;
pub mod file_owner;
pub mod guardian;
pub mod kcmp;
pub mod notify;
pub mod own;
pub mod own_fs;
pub mod packet;
pub mod pagemap;
pub mod playground;
pub mod ptrace;
pub mod region;
pub mod remote;
pub mod restartable;
pub mod runtime_dir;
pub mod seccomp;
pub mod secretmem;
pub mod signal;
pub mod socket;
pub mod socket_filter;
pub mod swap;
pub mod sysv;
pub mod sysv_msg;
pub mod sysv_sem;
pub mod sysv_shm;
pub mod task;
pub mod terminal;
pub mod uffd;
pub mod usage;
pub mod vm;

mod span;
pub use span::Span;
