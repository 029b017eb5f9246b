//! Classic BPF programs of sockets (`SO_ATTACH_FILTER` in `socket(7)`, `Documentation/networking/filter.rst`).
//!
//! # Safety
//! `setsockopt` reads one struct of ours, whose size it is told, and as many instructions as that says. `getsockopt` writes
//! no more instructions than the length that it is given, which here counts instructions, not bytes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of classic BPF, with the fields of `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names, which say no more")]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// The filter of a socket; empty where it has none.
///
/// # Errors
/// As `getsockopt(2)`: `EACCES` for one of extended BPF, which can't be read back.
pub fn read(socket: BorrowedFd<'_>) -> io::Result<Vec<Instruction>> {
    let nothing = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let get = |filter: &mut [libc::sock_filter]| {
        let mut instructions = libc::socklen_t::try_from(filter.len()).map_err(io::Error::other)?;
        // SAFETY: `filter` has room for as many instructions as the kernel is told, and `instructions` is ours.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_GET_FILTER,
                filter.as_mut_ptr().cast(),
                &raw mut instructions,
            )
        };
        match done {
            0 => Ok(instructions as usize),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let mut filter = vec![nothing; get(&mut [])?];
    if !filter.is_empty() {
        let got = get(&mut filter)?;
        filter.truncate(got);
    }
    let instruction = |raw: libc::sock_filter| Instruction {
        code: raw.code,
        jt: raw.jt,
        jf: raw.jf,
        k: raw.k,
    };
    Ok(filter.into_iter().map(instruction).collect())
}

/// Gives a socket a filter.
///
/// # Errors
/// As `setsockopt(2)`: `EINVAL` for what is no program and for more than 4096 instructions (`BPF_MAXINSNS`), `EPERM` where
/// the socket's filter is locked.
pub fn attach(socket: BorrowedFd<'_>, filter: &[Instruction]) -> io::Result<()> {
    let raw = |instruction: &Instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.jt,
        jf: instruction.jf,
        k: instruction.k,
    };
    let mut filter: Vec<_> = filter.iter().map(raw).collect();
    #[expect(clippy::cast_possible_truncation, reason = "a length and a pointer")]
    const PROGRAM_BYTES: libc::socklen_t = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let len = u16::try_from(filter.len());
    let program = libc::sock_fprog {
        len: len.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
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

    /// `BPF_RET | BPF_K`.
    const PASS_ALL: Instruction = Instruction {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: u32::MAX,
    };

    #[test]
    fn a_filter_that_passes_all_passes() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        attach(socket.as_fd(), &[PASS_ALL; 4096]).unwrap();
        socket
            .send_to(b"through", socket.local_addr().unwrap())
            .unwrap();
        let mut datagram = [0; 16];
        assert_eq!(socket.recv(&mut datagram).unwrap(), 7);
    }

    #[test]
    fn a_filter_is_read_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(read(socket.as_fd()).unwrap(), []);
        let two = [0x20, 0x06].map(|code| Instruction {
            code,
            jt: 0,
            jf: 0,
            k: 0xffff & u32::from(code == 6),
        });
        attach(socket.as_fd(), &two).unwrap();
        assert_eq!(read(socket.as_fd()).unwrap(), two);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(attach(socket.as_fd(), &[]).is_err());
        assert!(attach(socket.as_fd(), &[PASS_ALL; 4097]).is_err());
    }
}
