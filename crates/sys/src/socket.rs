//! Socket options by number (`socket(7)`): those that rustix has no call for, or that are copied from one socket to another
//! without being understood; and how much waits in a TCP socket (`tcp(7)`).
//!
//! # Safety
//! Each call gets a buffer of ours with its true length, which lives through it; the kernel writes no more than that. The one
//! option whose length is not counted in bytes is refused here.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

/// The bytes of an option, at most `room`.
///
/// # Errors
/// `ENOPROTOOPT` for one that this kind of socket has not; `EINVAL` for `SO_GET_FILTER`, whose length is in instructions
/// ([`crate::socket_filter::read`]).
pub fn option(socket: impl AsFd, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
    if (level, name) == (libc::SOL_SOCKET, libc::SO_GET_FILTER) {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0u8; room];
    let mut length = libc::socklen_t::try_from(room).map_err(|_| Errno::INVAL)?;
    // SAFETY: `bytes` is `length` long and writable; `length` is ours.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// Sets an option.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` is `length` long and only read.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    })
}

/// An option that is an int.
///
/// # Errors
/// As [`option`].
pub fn number(socket: impl AsFd, level: i32, name: i32) -> Result<i32, Errno> {
    let bytes = option(socket, level, name, 4)?;
    Ok(bytes
        .first_chunk()
        .map_or(0, |word| i32::from_ne_bytes(*word)))
}

/// Sets an option that is an int.
///
/// # Errors
/// As [`set_option`].
pub fn set_number(socket: impl AsFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    set_option(socket, level, name, &value.to_ne_bytes())
}

/// Bytes that a TCP socket has received and nobody has read (`SIOCINQ`).
///
/// # Errors
/// As `ioctl(2)`: `EINVAL` for a listener.
pub fn unread(socket: impl AsFd) -> Result<u32, Errno> {
    queued(socket, libc::FIONREAD)
}

/// Bytes that a TCP socket was given to send and whose receipt is not confirmed (`SIOCOUTQ`); the end of the stream counts
/// as one.
///
/// # Errors
/// As [`unread`].
pub fn unacknowledged(socket: impl AsFd) -> Result<u32, Errno> {
    queued(socket, libc::TIOCOUTQ)
}

/// Bytes of those that have never been on their way (`SIOCOUTQNSD`).
///
/// # Errors
/// As [`unread`].
pub fn unsent(socket: impl AsFd) -> Result<u32, Errno> {
    const SIOCOUTQNSD: libc::c_ulong = 0x894B;
    queued(socket, SIOCOUTQNSD)
}

fn queued(socket: impl AsFd, request: libc::c_ulong) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: all three requests write one int, which is ours.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), request, &raw mut bytes) })?;
    u32::try_from(bytes).map_err(|_| Errno::OVERFLOW)
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_and_read() {
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        set_number(&socket, libc::SOL_SOCKET, libc::SO_PASSCRED, 1).unwrap();
        assert_eq!(number(&socket, libc::SOL_SOCKET, libc::SO_PASSCRED), Ok(1));
        assert_eq!(
            option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, 16)
                .unwrap()
                .len(),
            16
        );
        let filter = option(&socket, libc::SOL_SOCKET, libc::SO_GET_FILTER, 8);
        assert_eq!(filter, Err(Errno::INVAL));
    }

    #[test]
    fn what_waits_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut client, b"four").unwrap();
        let mut peeked = [0; 4];
        while server.peek(&mut peeked).unwrap() < 4 {}
        assert_eq!((unread(&server), unsent(&client)), (Ok(4), Ok(0)));
        assert_eq!(unacknowledged(&server), Ok(0));
        assert_eq!(unread(&listener), Err(Errno::INVAL));
    }
}
