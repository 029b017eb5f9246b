//! Victims that shatter free memory, and then ask for a large piece of it.
//!
//! All memory is filled with pages of pipes, which the kernel can't move: a page to each pipe in turn, so that
//! neighbours belong to different pipes. Then every second pipe is closed. Much is free, none of it in one piece,
//! and compaction can't help. For a guest that is meant to run out of memory: it takes all there is.

use super::sockets::allow_descriptors;
use super::{Held, Part};
use plimsoll_sys::socket_filter;
use rustix::io::{Errno, write};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::PipeFlags;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// A pipe has so many pages (`PIPE_DEF_BUFFERS` in `include/linux/pipe_fs_i.h`).
const PAGES_OF_A_PIPE: u64 = 16;
/// The whole program is 32 KiB: a request of order 3, where a page is 4 KiB.
const INSTRUCTIONS: u16 = 4096;
const REQUESTS: usize = 4000;
/// A little less than 512 KiB.
const CONTROL_BYTES: usize = 500_000;

struct Shattered {
    freed: u64,
    _pipes: Vec<OwnedFd>,
    _sockets: Vec<UdpSocket>,
}

impl Held for Shattered {
    fn bytes(&self) -> u64 {
        self.freed
    }
}

/// Shatters memory down to a fraction left free, then makes requests until one can't be met.
pub(crate) fn shattered(part: Part) -> io::Result<Box<dyn Held>> {
    allow_descriptors(100_000)?;
    let page = rustix::param::page_size();
    let left_free = u64::from(part.of(64)) << 20;
    let sockets = (0..REQUESTS).map(|_| UdpSocket::bind("127.0.0.1:0"));
    let sockets: Vec<UdpSocket> = sockets.collect::<io::Result<_>>()?;

    let (freed, kept) = shatter(left_free, page)?;
    for socket in &sockets {
        socket_filter::attach_pass_all(socket.as_fd(), INSTRUCTIONS)?;
    }
    Ok(Box::new(Shattered {
        freed,
        _pipes: kept,
        _sockets: sockets,
    }))
}

/// Shatters memory, and then asks for one piece that is larger than the kernel insists on (order 7): it is refused, and the
/// kernel's log says so.
pub(crate) fn refused(part: Part) -> io::Result<Box<dyn Held>> {
    allow_descriptors(100_000)?;
    let page = rustix::param::page_size();
    let (freed, kept) = shatter(u64::from(part.of(64)) << 20, page)?;
    let (socket, _other) = UnixDatagram::pair()?;
    // Control messages are copied before they are looked at (`____sys_sendmsg`), so that there are far too many descriptors in this one
    // does not come to be seen.
    let descriptors = vec![socket.as_fd(); CONTROL_BYTES / size_of::<i32>()];
    let mut space = vec![MaybeUninit::uninit(); CONTROL_BYTES + 64];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    match sendmsg(&socket, &[], &mut control, SendFlags::empty()) {
        Err(Errno::NOBUFS | Errno::NOMEM) => Ok(Box::new(Shattered {
            freed,
            _pipes: kept,
            _sockets: Vec::new(),
        })),
        other => Err(io::Error::other(format!("it was not refused: {other:?}"))),
    }
}

/// What was given back, and the pipes that are kept.
fn shatter(left_free: u64, page: usize) -> io::Result<(u64, Vec<OwnedFd>)> {
    let pipe_bytes = PAGES_OF_A_PIPE * page as u64;
    let count = free_bytes()?.saturating_sub(left_free) / (pipe_bytes + (pipe_bytes >> 3));
    let mut pipes = Vec::new();
    for _ in 0..count {
        pipes.push(rustix::pipe::pipe_with(PipeFlags::NONBLOCK)?);
    }
    let block = vec![1; page];
    'full: for _ in 0..PAGES_OF_A_PIPE {
        for (number, (_, writer)) in pipes.iter().enumerate() {
            if number % 64 == 0 && free_bytes()? < left_free {
                break 'full;
            }
            match write(writer, &block) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    let mut kept = Vec::new();
    let mut freed = 0;
    for (number, (reader, writer)) in pipes.into_iter().enumerate() {
        if number % 2 == 0 {
            kept.extend([reader, writer]);
        } else {
            freed += rustix::io::ioctl_fionread(&reader)?;
        }
    }
    Ok((freed, kept))
}

/// `MemFree`.
fn free_bytes() -> io::Result<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| io::Error::other("no MemFree"))
}
