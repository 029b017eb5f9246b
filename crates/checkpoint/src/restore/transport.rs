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
/// of data, then a `struct cmsghdr` (16 bytes: the length with it, level, type) with the descriptors.
const IOVEC: u64 = 56;
const DATA: u64 = 72;
const CONTROL: u64 = 80;
const CMSGHDR_BYTES: usize = 16;

/// How many files go over at once: far fewer than any limit of descriptors that a program can live with.
pub(crate) const AT_ONCE: usize = 64;

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
        let numbers = self.hand_over_all(task, socket, &[file])?;
        let step = Step::new("hand a file to", task.tid);
        let first = numbers.first().copied();
        first.ok_or_else(|| step.errno(Errno::BADF))
    }

    /// Hands files over, at most [`AT_ONCE`], by one call; gives their numbers, as [`Self::hand_over`] does.
    pub(crate) fn hand_over_all(
        &self,
        task: &mut Task,
        socket: u32,
        files: &[BorrowedFd<'_>],
    ) -> Result<Vec<u32>, Error> {
        let step = Step::new("hand a file to", task.tid);
        self.send(files).map_err(|errno| step.errno(errno))?;
        let at = task.scratch.0.start;
        let room = (files.len() * size_of::<u32>()).next_multiple_of(size_of::<u64>());
        let mut answer = vec![0; CMSGHDR_BYTES + room];
        let words = [
            0,
            0,
            at + IOVEC,
            1,
            at + CONTROL,
            answer.len() as u64,
            0,
            at + DATA,
            1,
            0,
        ];
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        task.argument(&bytes)?;
        let flags = libc::MSG_CMSG_CLOEXEC.unsigned_abs();
        let what = "receive a file in";
        task.call(what, libc::SYS_recvmsg, [socket.into(), at, flags.into()])?;
        task.read(at + CONTROL, &mut answer)?;
        received(&answer, files.len()).ok_or_else(|| step.errno(Errno::BADF))
    }

    fn send(&self, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(files)) {
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

/// The descriptors in a control message, if it holds as many: a task that has no numbers left gets fewer.
fn received(control: &[u8], wanted: usize) -> Option<Vec<u32>> {
    let (length, rest) = control.split_first_chunk()?;
    let length = usize::try_from(u64::from_ne_bytes(*length)).ok()?;
    if length != CMSGHDR_BYTES + wanted * size_of::<u32>() {
        return None;
    }
    let numbers = rest.get(CMSGHDR_BYTES - size_of::<u64>()..)?;
    let numbers = numbers.as_chunks().0.iter().take(wanted);
    Some(numbers.map(|number| u32::from_ne_bytes(*number)).collect())
}
