//! What waits in a socket is peeked at message by message and stays where it is: `SO_PEEK_OFF` (`socket(7)`) goes on behind
//! what has been seen.

use super::Open;
use crate::error::Error;
use plimsoll_sys::socket;
use rustix::io::Errno;

/// Has each peek of `look` begin where the last one ended, the first at the beginning.
pub(super) fn from_the_first(
    open: &Open<'_>,
    look: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |errno: Errno| open.failed("read what waits in", errno);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    let before = socket::number(&open.file, level, name).map_err(failed)?;
    socket::set_number(&open.file, level, name, 0).map_err(failed)?;
    let looked = look();
    let put_back = socket::set_number(&open.file, level, name, before);
    looked?;
    put_back.map_err(failed)
}
