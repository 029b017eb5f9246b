//! Socket options by number (`socket(7)`): those that rustix has no call for, or that are copied from one socket to another
//! without being understood.
//!
//! # Safety
//! Each call gets a buffer of ours with its true length, which lives through it; the kernel writes no more than that.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

/// The bytes of an option, at most `room`.
///
/// # Errors
/// `ENOPROTOOPT` for one that this kind of socket has not.
pub fn option(socket: impl AsFd, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
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
    }
}
