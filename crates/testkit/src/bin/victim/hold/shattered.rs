//! A victim that shatters free memory, and then asks for a large piece of it.
//!
//! All memory is filled with pages of pipes, which the kernel can't move: a page to each pipe in turn, so that
//! neighbours belong to different pipes. Then every second pipe is closed. Much is free, none of it in one piece,
//! and compaction can't help. For a guest that is meant to run out of memory: it takes all there is.

use super::sockets::allow_descriptors;
use super::{Held, Part};
use plimsoll_sys::socket_filter;
use rustix::io::{Errno, write};
use rustix::pipe::PipeFlags;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};

/// A pipe has so many pages (`PIPE_DEF_BUFFERS` in `include/linux/pipe_fs_i.h`).
const PAGES_OF_A_PIPE: u64 = 16;
/// The whole program is 32 KiB: a request of order 3, where a page is 4 KiB.
const INSTRUCTIONS: u16 = 4096;
const REQUESTS: usize = 4000;

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
    for socket in &sockets {
        socket_filter::attach_pass_all(socket.as_fd(), INSTRUCTIONS)?;
    }
    Ok(Box::new(Shattered {
        freed,
        _pipes: kept,
        _sockets: sockets,
    }))
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
