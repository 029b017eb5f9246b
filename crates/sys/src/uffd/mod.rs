//! `userfaultfd(2)`: a descriptor through which the missing pages of a process are filled from outside.
//!
//! A descriptor belongs to the memory of the process that made it, whoever holds it: Plimsoll has the target
//! make one by a remote call and takes a duplicate with `pidfd_getfd(2)`. **The last close of it turns every
//! missing page into zeros**, so the target's own copy stays open until all ranges are unregistered.
//!
//! Thin on purpose: one function per `ioctl_userfaultfd(2)` operation, each giving a typed outcome, because
//! partial fills, `EAGAIN` and `EEXIST` are everyday news to a pager and not errors (see [`fill`]).

mod create;
pub mod event;
pub mod fill;
mod log;
mod register;

pub use create::{CreateFlags, DEVICE, IOC_NEW, create_here, features_of_this_kernel};
pub use event::{Event, Events};
pub use fill::{Fill, Halt, Mode, serves};
pub use log::{EventLog, Logged, PastEvent};
pub use register::{Modes, Operations};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

bitflags::bitflags! {
    /// What a descriptor can do and will report (`UFFD_FEATURE_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Faults on write-protected pages are marked.
        const PAGEFAULT_FLAG_WP = 1 << 0;
        /// `fork(2)` is reported, with a descriptor of the child. Needs CAP_SYS_PTRACE of who asks.
        const EVENT_FORK = 1 << 1;
        /// `mremap(2)` is reported.
        const EVENT_REMAP = 1 << 2;
        /// `madvise(2)` that drops pages is reported.
        const EVENT_REMOVE = 1 << 3;
        /// hugetlb mappings can be registered.
        const MISSING_HUGETLBFS = 1 << 4;
        /// Shared memory can be registered.
        const MISSING_SHMEM = 1 << 5;
        /// `munmap(2)` is reported.
        const EVENT_UNMAP = 1 << 6;
        /// Faults give SIGBUS instead of waiting.
        const SIGBUS = 1 << 7;
        /// Fault messages name the thread.
        const THREAD_ID = 1 << 8;
        /// Minor faults of hugetlb.
        const MINOR_HUGETLBFS = 1 << 9;
        /// Minor faults of shared memory.
        const MINOR_SHMEM = 1 << 10;
        /// Fault messages hold the exact address, not its page.
        const EXACT_ADDRESS = 1 << 11;
        /// Shared memory and hugetlb can be write-protected (Linux 5.19).
        const WP_HUGETLBFS_SHMEM = 1 << 12;
        /// Absent pages can be write-protected (Linux 6.4).
        const WP_UNPOPULATED = 1 << 13;
        /// `UFFDIO_POISON` (Linux 6.6).
        const POISON = 1 << 14;
        /// Write protection that the kernel lifts by itself, for `PAGEMAP_SCAN` (Linux 6.7).
        const WP_ASYNC = 1 << 15;
        /// `UFFDIO_MOVE` (Linux 6.8).
        const MOVE = 1 << 16;
        /// A later kernel's.
        const _ = !0;
    }
}

/// A userfaultfd whose handshake is done.
#[derive(Debug)]
pub struct Uffd {
    fd: OwnedFd,
    features: Features,
}

/// The handshake failed; the descriptor is given back, unharmed: another set of features may be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot agree with the kernel on the userfaultfd features {wanted:?}")]
pub struct HandshakeError {
    /// The descriptor.
    pub fd: OwnedFd,
    /// What was asked.
    pub wanted: Features,
    /// `EINVAL`: a feature that this kernel lacks; `EPERM`: EVENT_FORK without CAP_SYS_PTRACE.
    #[source]
    pub errno: Errno,
}

impl Uffd {
    /// Does the handshake (`UFFDIO_API`) on a fresh descriptor. Whoever calls must be allowed what `wanted` asks,
    /// whoever made the descriptor.
    ///
    /// # Errors
    /// [`HandshakeError`], with the descriptor.
    pub fn handshake(fd: OwnedFd, wanted: Features) -> Result<Self, HandshakeError> {
        match register::api(fd.as_fd(), wanted) {
            // The answer lists all that the kernel could do; what is on is what was asked.
            Ok(_) => Ok(Self {
                fd,
                features: wanted,
            }),
            Err(errno) => Err(HandshakeError { fd, wanted, errno }),
        }
    }

    /// A descriptor whose handshake was done before, by this program or one that died: `features` says with
    /// what, as was recorded then.
    #[must_use]
    pub fn resumed(fd: OwnedFd, features: Features) -> Self {
        Self { fd, features }
    }

    /// What was agreed on.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// Another descriptor of the same context.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        Ok(Self {
            fd: rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)?,
            features: self.features,
        })
    }

    /// The descriptor itself.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The `ioctl` type of userfaultfd (`UFFDIO`).
const UFFDIO: u8 = 0xaa;
