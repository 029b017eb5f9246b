//! Ctrl-C and its like, waited for: a verb that goes on until it is interrupted has done its work then.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Becomes readable when the signal comes.
#[derive(Debug)]
pub(crate) struct Interrupt(UnixStream);

impl Interrupt {
    /// From here on SIGINT and SIGTERM no longer end this program.
    pub(crate) fn catch() -> io::Result<Self> {
        let (told, teller) = UnixStream::pair()?;
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::low_level::pipe::register(signal, teller.try_clone()?)?;
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
