//! How open files get into a restored task: we open or make them in our own process, where that is ordinary code, and hand
//! them over through a socket (`SCM_RIGHTS`, `unix(7)`) whose other end every task inherits at the same number.

use super::task::Task;
use crate::error::{Error, Step};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;

/// Both ends: ours, and the one that tasks inherit.
#[derive(Debug)]
pub(crate) struct Transport {
    ours: OwnedFd,
    theirs: OwnedFd,
}

/// Where a message and its control data lie in the scratch pages: `struct msghdr` (56 bytes), one `struct iovec`, one byte
/// of data, then a `struct cmsghdr` with one descriptor.
const IOVEC: u64 = 56;
const DATA: u64 = 72;
const CONTROL: u64 = 80;
const CONTROL_BYTES: u64 = 24;

impl Transport {
    /// A fresh pair.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { ours, theirs })
    }

    /// The number that a task inherits it by.
    pub(crate) fn inherited(&self) -> u32 {
        self.theirs.as_fd().as_raw_fd().unsigned_abs()
    }

    /// Hands a file over; gives its number there, the lowest that is free, with `FD_CLOEXEC` set. `socket` is the number of
    /// the other end in the task.
    pub(crate) fn hand_over(
        &self,
        task: &mut Task,
        socket: u32,
        file: BorrowedFd<'_>,
    ) -> Result<u32, Error> {
        let step = Step::new("hand a file to", task.tid);
        self.send(file).map_err(|errno| step.errno(errno))?;
        let at = task.scratch.0.start;
        let words = [
            0,
            0,
            at + IOVEC,
            1,
            at + CONTROL,
            CONTROL_BYTES,
            0,
            at + DATA,
            1,
            0,
            0,
            0,
            0,
        ];
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        task.argument(&bytes)?;
        let flags = libc::MSG_CMSG_CLOEXEC.unsigned_abs();
        let what = "receive a file in";
        task.call(what, libc::SYS_recvmsg, [socket.into(), at, flags.into()])?;
        let mut answer = [0; 4];
        task.read(at + CONTROL + 16, &mut answer)?;
        let number = i32::from_ne_bytes(answer);
        u32::try_from(number).map_err(|_| step.errno(Errno::BADF))
    }

    fn send(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        if !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(Errno::NOBUFS);
        }
        sendmsg(
            &self.ours,
            &[IoSlice::new(b"f")],
            &mut control,
            SendFlags::empty(),
        )?;
        Ok(())
    }
}
