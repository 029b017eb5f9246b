//! Descriptors by kind: the link in `/proc/PID/fd`, and `fdinfo` for the kinds that have more to tell.

use plimsoll_proc::process::fdinfo::{self, Fdinfo};
use plimsoll_proc::{ReadError, Root};
use std::os::unix::ffi::OsStrExt;

/// What a descriptor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A file, directory or FIFO with a path.
    Path,
    /// A terminal.
    Terminal,
    /// `pipe(2)`
    Pipe,
    /// A socket of any family.
    Socket,
    /// `epoll_create(2)`
    Epoll,
    /// `eventfd(2)`
    Eventfd,
    /// `timerfd_create(2)`
    Timerfd,
    /// `signalfd(2)`
    Signalfd,
    /// `inotify(7)`, `fanotify(7)`
    Notify,
    /// `pidfd_open(2)`
    Pidfd,
    /// Memory: memfd, secret or not.
    Memory,
    /// `userfaultfd(2)`
    Userfaultfd,
    /// `io_uring_setup(2)`, with the number of registered buffers: pages pinned for ever.
    IoUring {
        /// Registered buffers.
        buffers: u64,
    },
    /// A GPU, or another accelerator's device file.
    Gpu,
    /// InfiniBand verbs: memory pinned for a network card.
    Rdma,
    /// KVM, VFIO, perf, BPF, …: an object of the kernel's that no rule here knows.
    Other,
}

/// An open descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub fd: u32,
    /// What it is of.
    pub kind: Kind,
    /// Open for direct I/O (`O_DIRECT`): a disk reads and writes the process's memory itself. Of a pipe it means something
    /// else, and is not told.
    pub direct: bool,
}

/// The descriptors of a process, ascending. One that is closed meanwhile is left out.
pub(super) fn read(root: &Root, pid: u32) -> Result<Vec<Descriptor>, ReadError> {
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    let mut fds: Vec<u32> = root
        .list(format!("proc/{pid}/fd"))?
        .into_iter()
        .filter_map(number)
        .collect();
    fds.sort_unstable();
    let look = |fd| {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let (kind, mut direct) = (by_link(link.as_os_str().as_bytes()), false);
        let tells_more = matches!(kind, Kind::IoUring { .. } | Kind::Path);
        let text = tells_more.then(|| root.read(format!("proc/{pid}/fdinfo/{fd}")).ok());
        let text = text.flatten().unwrap_or_default();
        let kind = match Fdinfo::parse(&text) {
            Ok(info) => {
                direct = kind == Kind::Path && info.flags & O_DIRECT != 0;
                match info.kind {
                    fdinfo::Kind::IoUring { user_bufs, .. } => Kind::IoUring { buffers: user_bufs },
                    _ => kind,
                }
            }
            Err(_) => kind,
        };
        Some(Descriptor { fd, kind, direct })
    };
    Ok(fds.into_iter().filter_map(look).collect())
}

const O_DIRECT: u32 = libc::O_DIRECT.unsigned_abs();

/// What the link of a descriptor says: the first beginning that fits.
fn by_link(link: &[u8]) -> Kind {
    const BEGINNINGS: [(&str, Kind); 24] = [
        ("pipe:", Kind::Pipe),
        ("socket:", Kind::Socket),
        ("anon_inode:[eventpoll]", Kind::Epoll),
        ("anon_inode:[eventfd]", Kind::Eventfd),
        ("anon_inode:[timerfd]", Kind::Timerfd),
        ("anon_inode:[signalfd]", Kind::Signalfd),
        ("anon_inode:inotify", Kind::Notify),
        ("anon_inode:[fanotify]", Kind::Notify),
        ("anon_inode:[pidfd]", Kind::Pidfd),
        ("pidfd:", Kind::Pidfd),
        ("anon_inode:[userfaultfd]", Kind::Userfaultfd),
        ("anon_inode:[io_uring]", Kind::IoUring { buffers: 0 }),
        ("/dev/userfaultfd", Kind::Path),
        ("/memfd:", Kind::Memory),
        ("/secretmem", Kind::Memory),
        ("/dev/pts/", Kind::Terminal),
        ("/dev/tty", Kind::Terminal),
        ("/dev/ptmx", Kind::Terminal),
        ("/dev/dri/", Kind::Gpu),
        ("/dev/nvidia", Kind::Gpu),
        ("/dev/kfd", Kind::Gpu),
        ("/dev/accel/", Kind::Gpu),
        ("/dev/infiniband/", Kind::Rdma),
        ("/", Kind::Path),
    ];
    let fits = |(beginning, _): &&(&str, Kind)| link.starts_with(beginning.as_bytes());
    BEGINNINGS
        .iter()
        .find(fits)
        .map_or(Kind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell_kinds() {
        for (link, kind) in [
            ("pipe:[123]", Kind::Pipe),
            ("/dev/pts/3", Kind::Terminal),
            ("/home/a file (deleted)", Kind::Path),
            ("anon_inode:[eventpoll]", Kind::Epoll),
            ("anon_inode:kvm-vm", Kind::Other),
            ("/dev/nvidia-uvm", Kind::Gpu),
            ("anon_inode:[io_uring]", Kind::IoUring { buffers: 0 }),
        ] {
            assert_eq!(by_link(link.as_bytes()), kind, "{link}");
        }
    }
}
