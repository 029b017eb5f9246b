//! Classic BPF programs of sockets (`SO_ATTACH_FILTER` in `socket(7)`, `Documentation/networking/filter.rst`).
//!
//! The kernel keeps a copy of the program as it was given, in physically contiguous memory: 4096 instructions are
//! 32 KiB. No other request of that size can be made so plainly by a program.
//!
//! # Safety
//! `setsockopt` reads one struct of ours, whose size it is told, and as many instructions as that says.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Gives a socket a filter of so many instructions that lets everything through.
///
/// # Errors
/// As `setsockopt(2)`: `EINVAL` for no instruction and for more than 4096 (`BPF_MAXINSNS`), `ENOMEM`.
pub fn attach_pass_all(socket: BorrowedFd<'_>, instructions: u16) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "a length and a pointer")]
    const PROGRAM_BYTES: libc::socklen_t = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let return_all = libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: u32::MAX,
    };
    let mut filter = vec![return_all; usize::from(instructions)];
    let program = libc::sock_fprog {
        len: instructions,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` and the `len` instructions it points to live until the call returns; its own size is passed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            PROGRAM_BYTES,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_filter_that_passes_all_passes() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        attach_pass_all(socket.as_fd(), 4096).unwrap();
        socket
            .send_to(b"through", socket.local_addr().unwrap())
            .unwrap();
        let mut datagram = [0; 16];
        assert_eq!(socket.recv(&mut datagram).unwrap(), 7);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(attach_pass_all(socket.as_fd(), 0).is_err());
        assert!(attach_pass_all(socket.as_fd(), 4097).is_err());
    }
}
