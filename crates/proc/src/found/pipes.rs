//! What pipes hold, through a duplicate of one descriptor of each.
//!
//! `pidfd_getfd(2)`, `FIONREAD` and `F_GETPIPE_SZ` (`pipe(7)`). While the duplicate is held, the last writer's or
//! reader's end looks open for some microseconds longer than it is; nothing is read or written. `FIONREAD`
//! counts bytes, and `pipe_write` puts them into pages of their own, so they are rounded up to pages.

use super::Pipes;
use super::descriptors::Descriptor;
use plimsoll_units::{Bytes, PageSize, Pages};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Adds up pipes as their descriptors come by.
#[derive(Debug, Default)]
pub(super) struct PipeCounter {
    seen: HashSet<u64>,
    held: Pipes,
    /// The process that is walked, opened once for all its pipes.
    process: Option<(u32, OwnedFd)>,
    /// Pipes that no descriptor let us into so far.
    refused: HashSet<u64>,
}

impl PipeCounter {
    /// A descriptor that leads to the pipe `inode`.
    pub(super) fn visit(&mut self, descriptor: Descriptor<'_>, inode: u64, page: PageSize) {
        if self.seen.contains(&inode) {
            return;
        }
        match self.measure(descriptor.process.status.pid, descriptor.number, page) {
            Ok((queued, pages)) => {
                self.seen.insert(inode);
                self.refused.remove(&inode);
                self.held.count += 1;
                self.held.queued_bytes += queued;
                self.held.page_bytes += pages.bytes(page);
            }
            Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => {
                self.refused.insert(inode);
            }
            Err(_) => {} // the process or its descriptor is gone; another may lead there
        }
    }

    fn measure(&mut self, pid: u32, fd: &CStr, page: PageSize) -> Result<(Bytes, Pages), Errno> {
        let number: i32 = (fd.to_str().ok())
            .and_then(|number| number.parse().ok())
            .ok_or(Errno::BADF)?;
        let pidfd = match self.process.take() {
            Some((opened, pidfd)) if opened == pid => pidfd,
            _ => {
                let raw = i32::try_from(pid).map_err(|_| Errno::SRCH)?;
                pidfd_open(Pid::from_raw(raw).ok_or(Errno::SRCH)?, PidfdFlags::empty())?
            }
        };
        let pipe = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty());
        self.process = Some((pid, pidfd));
        let pipe = pipe?;
        // Fails on what is no pipe: the number may have been taken by something else since.
        let slots = page.pages_for(Bytes(rustix::pipe::fcntl_getpipe_size(&pipe)? as u64));
        let queued = Bytes(rustix::io::ioctl_fionread(&pipe)?);
        Ok((queued, page.pages_for(queued).min(slots)))
    }

    /// All pipes seen, and how many could not be looked into.
    pub(super) fn finish(self) -> (Pipes, usize) {
        (self.held, self.refused.len())
    }
}
