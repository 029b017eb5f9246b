//! Rings of packet sockets (`packet(7)`, `Documentation/networking/packet_mmap.rst`).
//!
//! # Safety
//! `setsockopt` reads one struct of ours, whose size it is told; the ring is the kernel's memory and is not mapped
//! here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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
