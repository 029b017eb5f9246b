//! One of our descriptors, put into the descriptor table of the target: `unix(7)`, SCM_RIGHTS.
//!
//! The target makes a pair of sockets, we take a duplicate of one end and send through it, the target receives at the
//! other. It needs neither a path that the target can see nor the right to open what it is given.

use crate::ParkError;
use crate::arm::{close, duplicate};
use plimsoll_surgery::operate::{OperateError, Operation};
use plimsoll_sys::remote::Syscall;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::mem::MaybeUninit;

/// Where things lie in the argument that the target receives into.
const PAIR_AT: usize = 0;
const MESSAGE_AT: usize = 8;
const VECTOR_AT: usize = 64;
const CONTROL_AT: usize = 80;
const DATA_AT: usize = 104;
const LENGTH: usize = 112;
/// A header of `cmsg(3)`, one descriptor, and padding.
const CONTROL_LENGTH: u64 = 24;
/// The descriptor lies behind the header.
const RECEIVED_AT: usize = CONTROL_AT + 16;

/// Gives the number that `fd` has in the target from now on; it is close-on-exec there.
///
/// # Errors
/// When calls can't be made there; inside, when the kernel refuses one.
pub(crate) fn over(
    operation: &mut Operation<'_>,
    fd: BorrowedFd<'_>,
) -> Result<Result<u64, Errno>, ParkError> {
    let at = operation.argument(&[0; LENGTH])?;
    let kind = u64::from((libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).unsigned_abs());
    let unix = libc::AF_UNIX.unsigned_abs().into();
    let pair = Syscall::new(libc::SYS_socketpair, [unix, kind, 0, at]);
    if let Err(errno) = operation.try_call(pair)? {
        return Ok(Err(errno));
    }
    let answer = answer(operation)?;
    let (ours, theirs) = (word(&answer, PAIR_AT), word(&answer, PAIR_AT + 4));
    let received = send(operation.pid(), ours, fd).and_then(|()| receive(operation, theirs));
    for end in [ours, theirs] {
        close(operation, end.into())?;
    }
    received
}

fn send(pid: u32, into: u32, fd: BorrowedFd<'_>) -> Result<(), ParkError> {
    let socket = duplicate(pid, i32::try_from(into).unwrap_or(-1))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    rights.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(
        socket.as_fd(),
        &[IoSlice::new(&[0])],
        &mut rights,
        SendFlags::NOSIGNAL,
    );
    sent.map(|_| ()).map_err(|source| ParkError::Process {
        operation: "send a descriptor to",
        pid,
        source,
    })
}

fn receive(operation: &mut Operation<'_>, from: u32) -> Result<Result<u64, Errno>, ParkError> {
    let at = operation.argument(&[0; LENGTH])?;
    operation.argument(&message(at))?;
    let how = libc::MSG_CMSG_CLOEXEC.unsigned_abs().into();
    let to = at.saturating_add(MESSAGE_AT as u64);
    let receive = Syscall::new(libc::SYS_recvmsg, [from.into(), to, how]);
    if let Err(errno) = operation.try_call(receive)? {
        return Ok(Err(errno));
    }
    let answer = answer(operation)?;
    // A full descriptor table: the message comes without what it carried.
    Ok(match word(&answer, CONTROL_AT) {
        0 => Err(Errno::MFILE),
        _ => Ok(word(&answer, RECEIVED_AT).into()),
    })
}

/// A `struct msghdr` for an argument that lies at `at`, with the one `struct iovec` it points to.
fn message(at: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let inside = |offset: usize| at.saturating_add(offset as u64);
    let words = [
        (MESSAGE_AT + 16, inside(VECTOR_AT)),
        (MESSAGE_AT + 24, 1),
        (MESSAGE_AT + 32, inside(CONTROL_AT)),
        (MESSAGE_AT + 40, CONTROL_LENGTH),
        (VECTOR_AT, inside(DATA_AT)),
        (VECTOR_AT + 8, 1),
    ];
    for (offset, word) in words {
        for (place, byte) in bytes.iter_mut().skip(offset).zip(word.to_ne_bytes()) {
            *place = byte;
        }
    }
    bytes
}

fn answer(operation: &mut Operation<'_>) -> Result<[u8; LENGTH], OperateError> {
    let mut answer = [0; LENGTH];
    operation.answer(&mut answer)?;
    Ok(answer)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}
