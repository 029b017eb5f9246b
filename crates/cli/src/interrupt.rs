//! Signals, waited for: Ctrl-C and its like end a verb that goes on until then; others ask it for something.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Becomes readable when the signal comes.
#[derive(Debug)]
pub(crate) struct Interrupt(UnixStream);

impl Interrupt {
    /// From here on SIGINT and SIGTERM no longer end this program.
    pub(crate) fn catch() -> io::Result<Self> {
        Self::by(&[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])
    }

    /// From here on SIGUSR1 asks for something.
    pub(crate) fn asked() -> io::Result<Self> {
        Self::by(&[signal_hook::consts::SIGUSR1])
    }

    fn by(signals: &[i32]) -> io::Result<Self> {
        let (told, teller) = UnixStream::pair()?;
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal, teller.try_clone()?)?;
        }
        Ok(Self(told))
    }

    /// Waits so long for it; tells whether it came.
    pub(crate) fn came_within(&mut self, pause: Duration) -> io::Result<bool> {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {} // by another signal, or by this one just before it could be read
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
