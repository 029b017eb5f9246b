//! Victims that shatter free memory, and then ask for large pieces of it, or only hold what is left.
//!
//! All memory is filled with pages of pipes, which the kernel can't move: a page to each pipe in turn, so that
//! neighbours belong to different pipes. Then every second pipe is closed. Much is free, none of it in one piece,
//! and compaction can't help. For a guest that is meant to run out of memory: it takes all there is.
//!
//! The first requests are beyond order 3 and so only fail: in silence, where they are the slots of a pipe that is made
//! larger (`pipe_resize_ring` in `fs/pipe.c`), each kept until there is no piece left; then as a `page allocation
//! failure`, where it is the control data of a message, which `____sys_sendmsg` in `net/socket.c` copies into one piece
//! (`net.core.optmem_max` must allow it). Those that follow are of order 3, slots again. The first of them that can't
//! be met brings the OOM killer.

use super::sockets::allow_descriptors;
use super::{Held, Part};
use rustix::io::{Errno, write};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sendmsg,
    socketpair, sockopt,
};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size};
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A pipe has so many pages (`PIPE_DEF_BUFFERS` in `include/linux/pipe_fs_i.h`).
const PAGES_OF_A_PIPE: u64 = 16;
/// A pipe of so many pages has as many slots of 40 bytes, which is a request of order 3, where a page is 4 KiB.
const PAGES_FOR_ORDER_3: usize = 512;
/// And one of order 10, the largest that there is.
const PAGES_FOR_ORDER_10: usize = 65_536;
/// Likewise.
const CONTROL_BYTES: usize = 4 << 20;

struct Shattered {
    freed: u64,
    pipes: Vec<OwnedFd>,
}

impl Held for Shattered {
    fn bytes(&self) -> u64 {
        self.freed
    }
}

/// Shatters memory down to a fraction left free, then makes requests until one can't be met.
pub(crate) fn shattered(part: Part) -> io::Result<Box<dyn Held>> {
    let page = rustix::param::page_size();
    let mut message = vec![MaybeUninit::uninit(); CONTROL_BYTES];
    let shattered = shatter(part)?;
    let mut readers = shattered.pipes.iter().step_by(2);
    let had = |pipe| fcntl_setpipe_size(pipe, PAGES_FOR_ORDER_10 * page).is_ok();
    while readers.next().is_some_and(had) {}
    send_control_data(&mut message)?;
    for pipe in readers {
        fcntl_setpipe_size(pipe, PAGES_FOR_ORDER_3 * page)?;
    }
    Ok(Box::new(shattered))
}

/// Memory in pieces, with what fills the last large ones.
struct Shards {
    shattered: Shattered,
    _fill: Vec<(UnixStream, UnixStream)>,
}

impl Held for Shards {
    fn bytes(&self) -> u64 {
        self.shattered.freed
    }
}

/// Shatters memory down to a fraction left free, and takes every piece of order 3 and above that is left, without a request that
/// could not be met: what is written to a UNIX socket comes in such pieces where there are any, and in smaller ones where there are
/// none (`alloc_skb_with_frags` in `net/core/skbuff.c`).
pub(crate) fn shards(part: Part) -> io::Result<Box<dyn Held>> {
    const BLOCK: usize = 64 << 10;
    let shattered = shatter(part)?;
    let mut fill = Vec::new();
    let block = [1; BLOCK];
    while large_pieces()? > 0 {
        let (reader, mut writer) = UnixStream::pair()?;
        sockopt::set_socket_send_buffer_size_force(&writer, 2 << 20)?;
        writer.set_nonblocking(true)?;
        while large_pieces()? > 0 && writer.write(&block).is_ok() {}
        fill.push((reader, writer));
    }
    Ok(Box::new(Shards {
        shattered,
        _fill: fill,
    }))
}

fn shatter(part: Part) -> io::Result<Shattered> {
    allow_descriptors(100_000)?;
    let page = rustix::param::page_size();
    let left_free = u64::from(part.of(64)) << 20;

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
    Ok(Shattered { freed, pipes: kept })
}

/// Sends so much control data that the copy of it can't be had.
fn send_control_data(buffer: &mut [MaybeUninit<u8>]) -> io::Result<()> {
    let (here, _there) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        rustix::net::SocketFlags::empty(),
        None,
    )?;
    // More descriptors than a message may have: it would be refused, once the copy were made.
    let room = buffer.len().saturating_sub(64) / size_of::<i32>();
    let descriptors = vec![here.as_fd(); room];
    let mut control = SendAncillaryBuffer::new(buffer);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("the control data do not fit"));
    }
    match sendmsg(
        &here,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    ) {
        Err(Errno::NOBUFS) => Ok(()),
        otherwise => Err(io::Error::other(format!(
            "it was not refused: {otherwise:?}"
        ))),
    }
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

/// Free pieces of order 3 and above, in zones that any request may use (`/proc/buddyinfo`).
fn large_pieces() -> io::Result<u64> {
    let buddyinfo = std::fs::read_to_string("/proc/buddyinfo")?;
    let of_zone = |line: &str| -> u64 {
        let counts = line.split_ascii_whitespace().skip(4).skip(3);
        counts.filter_map(|count| count.parse::<u64>().ok()).sum()
    };
    let zones = buddyinfo
        .lines()
        .filter(|line| line.contains("DMA32") || line.contains("Normal"));
    Ok(zones.map(of_zone).sum())
}
