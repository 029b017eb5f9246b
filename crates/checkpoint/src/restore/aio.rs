//! Rings of `io_setup(2)`: made again with their events, and moved to where they were.
//!
//! ```text
//! ring = id, nr, head, tail, magic, features (2), header length (u32 each), events (32 bytes each)
//! ```
//!
//! The kernel finds a context by its ring's address and the `id` in it, so both are its own. It keeps the place of the next
//! event (`tail`) for itself as well: requests that end at once bring it where it was. What the ring held waits at
//! its address, as any memory does, until the ring takes that place.

use super::task::Task;
use crate::error::{Error, Step};
use plimsoll_image::proto::{AioRingEntry, MmEntry};
use rustix::io::Errno;

const HEAD: u64 = 8;
const HEADER_BYTES: u64 = 32;
/// `struct iocb` of `linux/aio_abi.h`.
const REQUEST_BYTES: u64 = 64;
/// How many requests are told of in one call, each by its address.
const MOST_AT_ONCE: u32 = 1024;

/// Makes all rings of a process.
pub(super) fn make(task: &mut Task, mm: &MmEntry) -> Result<(), Error> {
    mm.aios.iter().try_for_each(|ring| one(task, ring))
}

fn one(task: &mut Task, wanted: &AioRingEntry) -> Result<(), Error> {
    let length = u64::from(wanted.ring_len);
    let Header { count, head, tail } = Header::read(task, wanted.id)?;
    let at = task.argument(&[0; 8])?;
    let what = "make a ring of io_setup in";
    task.call(what, libc::SYS_io_setup, [wanted.nr_req.into(), at])?;
    let mut made = [0; 8];
    task.read(at, &mut made)?;
    let made = u64::from_ne_bytes(made);
    let new = Header::read(task, made)?;
    if new.count != count || head >= count || tail >= count {
        return Err(Step::new(what, task.tid).errno(Errno::INVAL));
    }
    // Behind its head the tail has gone around.
    let requests = if tail < head {
        count.saturating_add(tail)
    } else {
        tail
    };
    advance(task, made, requests, head)?;
    let events = length.saturating_sub(HEADER_BYTES);
    let mut bytes = vec![0; usize::try_from(events).unwrap_or(0)];
    task.read(wanted.id.saturating_add(HEADER_BYTES), &mut bytes)?;
    task.write(made.saturating_add(HEADER_BYTES), &bytes)?;
    let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).unsigned_abs());
    let args = [made, length, length, flags, wanted.id];
    task.call("move a ring of io_setup in", libc::SYS_mremap, args)?;
    Ok(())
}

/// What is read of a ring's header.
struct Header {
    count: u32,
    head: u32,
    tail: u32,
}

impl Header {
    fn read(task: &Task, ring: u64) -> Result<Self, Error> {
        let mut bytes = [[0; 4]; 4];
        task.read(ring, bytes.as_flattened_mut())?;
        let [_, count, head, tail] = bytes.map(u32::from_ne_bytes);
        Ok(Self { count, head, tail })
    }
}

/// Brings the tail forward by so many requests, and the head behind it to its place.
fn advance(task: &mut Task, ring: u64, requests: u32, head: u32) -> Result<(), Error> {
    if requests == 0 {
        return Ok(());
    }
    let what = "turn a ring of io_setup in";
    let path = task.argument(b"/dev/null\0")?;
    let here = u64::from_ne_bytes(i64::from(libc::AT_FDCWD).to_ne_bytes());
    let args = [here, path, u64::from(libc::O_WRONLY.unsigned_abs()), 0];
    let null = task.call("open /dev/null in", libc::SYS_openat, args)?;
    let request = task.argument(&request(path, null))?;
    let list = request.saturating_add(REQUEST_BYTES);
    let most = requests.min(MOST_AT_ONCE);
    let addresses: Vec<u8> = (0..most).flat_map(|_| request.to_ne_bytes()).collect();
    task.write(list, &addresses)?;
    let mut done = 0;
    while done < requests {
        let next = most.min(requests - done);
        let args = [ring, next.into(), list];
        let taken = task.call(what, libc::SYS_io_submit, args)?;
        let taken = u32::try_from(taken).ok().filter(|taken| *taken > 0);
        done += taken.ok_or_else(|| Step::new(what, task.tid).errno(Errno::AGAIN))?;
        // As if they had been fetched: their places are free again.
        task.write(ring.saturating_add(HEAD), &done.min(head).to_ne_bytes())?;
    }
    task.call("close a descriptor", libc::SYS_close, [null])?;
    Ok(())
}

/// A `struct iocb` that writes one byte to a descriptor; to `/dev/null` that is over at once.
fn request(from: u64, descriptor: u64) -> [u8; 64] {
    const IOCB_CMD_PWRITE: u64 = 1;
    let words = [
        0,                                  // aio_data
        0,                                  // aio_key, aio_rw_flags
        IOCB_CMD_PWRITE | descriptor << 32, // aio_lio_opcode, aio_reqprio, aio_fildes
        from,                               // aio_buf
        1,                                  // aio_nbytes
        0,                                  // aio_offset
        0,                                  // aio_reserved2
        0,                                  // aio_flags, aio_resfd
    ];
    let mut bytes = [[0; 8]; 8];
    for (place, word) in bytes.iter_mut().zip(words) {
        *place = word.to_ne_bytes();
    }
    let mut request = [0; 64];
    request.copy_from_slice(bytes.as_flattened());
    request
}
