//! Rings of packet sockets (`packet(7)`, `Documentation/networking/packet_mmap.rst`).
//!
//! # Safety
//! `setsockopt` and `bind` read one struct of ours, whose size they are told; the ring is the kernel's memory and is not
//! mapped here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Binds a packet socket to an interface by its index, 0 for all; its protocol stays.
///
/// # Errors
/// As `bind(2)`: `ENODEV`.
pub fn bind_to_interface(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: FAMILY,
        sll_protocol: 0,
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    bind(socket, &address)
}

/// Binds a socket of the old kind (`SOCK_PACKET`), which takes the name of an interface, at most 13 bytes of it.
///
/// # Errors
/// As `bind(2)`: `ENODEV`.
pub fn bind_to_name(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut address = libc::sockaddr {
        sa_family: FAMILY,
        sa_data: [0; 14],
    };
    for (place, byte) in address.sa_data.iter_mut().zip(name.bytes().take(13)) {
        *place = byte.cast_signed();
    }
    bind(socket, &address)
}

#[expect(clippy::cast_possible_truncation, reason = "17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

/// An address that is plain data of the kernel's shape.
trait Address {}
impl Address for libc::sockaddr_ll {}
impl Address for libc::sockaddr {}

fn bind<A: Address>(socket: BorrowedFd<'_>, address: &A) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<A>()).map_err(io::Error::other)?;
    let address = std::ptr::from_ref(address).cast();
    // SAFETY: `address` lives until the call returns, and its own size is passed.
    match unsafe { libc::bind(socket.as_raw_fd(), address, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives a packet socket a receive ring of `blocks` blocks, which the kernel allocates at once.
///
/// # Errors
/// As `setsockopt(2)`: `EINVAL` unless a block is a whole number of pages, `ENOMEM`.
pub fn set_receive_ring(socket: BorrowedFd<'_>, block_bytes: u32, blocks: u32) -> io::Result<()> {
    const FRAME_BYTES: u32 = 2048;
    #[expect(clippy::cast_possible_truncation, reason = "four words")]
    const RING_BYTES: libc::socklen_t = size_of::<libc::tpacket_req>() as libc::socklen_t;
    let ring = libc::tpacket_req {
        tp_block_size: block_bytes,
        tp_block_nr: blocks,
        tp_frame_size: FRAME_BYTES,
        tp_frame_nr: (block_bytes / FRAME_BYTES).saturating_mul(blocks),
    };
    // SAFETY: `ring` lives until the call returns, and its own size is passed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_RX_RING,
            (&raw const ring).cast(),
            RING_BYTES,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
