//! System V message queues by their number: `msgget(2)`, `msgop(2)`, `msgctl(2)`.
//!
//! # Safety
//! A message is a `long` and bytes behind it: a buffer of ours that is longer by that `long` than what the kernel is told.
//! `IPC_STAT` writes and `IPC_SET` reads one `msqid_ds` that lives through the call.
#![allow(unsafe_code)]

use crate::sysv::{self, Permissions, answer};
use std::io;

/// What the kernel says of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whose it is.
    pub permissions: Permissions,
    /// How much may wait in it.
    pub limit_bytes: u64,
    /// How much waits in it.
    pub waiting_bytes: u64,
    /// How many messages wait in it.
    pub messages: u64,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// What it says.
    pub text: Vec<u8>,
}

/// The type in front of a message's text.
const TYPE_BYTES: usize = size_of::<libc::c_long>();

/// Asks about a queue.
///
/// # Errors
/// As `msgctl(2)`: `EINVAL` or `EIDRM` where it is gone; `EACCES`.
pub fn status(msqid: i32) -> io::Result<Status> {
    // SAFETY: all-zero is a valid `msqid_ds`.
    let mut told: libc::msqid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `IPC_STAT` writes one `msqid_ds`.
    answer(unsafe { libc::msgctl(msqid, libc::IPC_STAT, &raw mut told) })?;
    Ok(Status {
        permissions: told.msg_perm.into(),
        limit_bytes: told.msg_qbytes,
        waiting_bytes: told.__msg_cbytes,
        messages: told.msg_qnum,
    })
}

/// A new queue with this key, or none (0), that nobody else has made.
///
/// # Errors
/// As `msgget(2)`: `EEXIST` where the key is taken.
pub fn create(key: i32, mode: u32) -> io::Result<i32> {
    let flags = sysv::anew(mode);
    // SAFETY: all arguments are plain values.
    answer(unsafe { libc::msgget(key, flags) })
}

/// Gives a queue to a user and a group, and says how much may wait in it.
///
/// # Errors
/// As `msgctl(2)`: `EPERM` without CAP_SYS_RESOURCE for more than `kernel.msgmnb`.
pub fn give_to(msqid: i32, uid: u32, gid: u32, mode: u32, limit_bytes: u64) -> io::Result<()> {
    // SAFETY: all-zero is a valid `msqid_ds`.
    let mut wanted: libc::msqid_ds = unsafe { std::mem::zeroed() };
    sysv::give_to(&mut wanted.msg_perm, uid, gid, mode);
    wanted.msg_qbytes = limit_bytes;
    // SAFETY: `IPC_SET` reads the structure, which lives through the call.
    answer(unsafe { libc::msgctl(msqid, libc::IPC_SET, &raw mut wanted) }).map(drop)
}

/// A copy of one of the messages that wait, the first of which is number 0, where they stay (`MSG_COPY`: Linux 3.8,
/// `CONFIG_CHECKPOINT_RESTORE`).
///
/// # Errors
/// As `msgrcv(2)`: `ENOMSG` when there is no such message, `E2BIG` when it is longer than `limit_bytes`, `ENOSYS`.
pub fn copy(msqid: i32, number: u32, limit_bytes: usize) -> io::Result<Message> {
    let mut buffer = vec![0u8; TYPE_BYTES.saturating_add(limit_bytes)];
    let flags = libc::MSG_COPY | libc::IPC_NOWAIT;
    // SAFETY: the buffer has room for a type and `limit_bytes` bytes.
    let length = unsafe {
        libc::msgrcv(
            msqid,
            buffer.as_mut_ptr().cast(),
            limit_bytes,
            number.into(),
            flags,
        )
    };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error());
    };
    buffer.truncate(TYPE_BYTES.saturating_add(length));
    let text = buffer.split_off(TYPE_BYTES);
    let kind = buffer.as_slice().try_into().map_err(io::Error::other)?;
    Ok(Message {
        kind: i64::from_ne_bytes(kind),
        text,
    })
}

/// Sends a message, unless it would have to wait.
///
/// # Errors
/// As `msgsnd(2)`: `EAGAIN` where the queue is full, `EINVAL` for a type below 1 or a text that is too long.
pub fn send(msqid: i32, message: &Message) -> io::Result<()> {
    let bytes = [&message.kind.to_ne_bytes(), message.text.as_slice()].concat();
    let length = message.text.len();
    // SAFETY: the buffer holds a type and `length` bytes.
    answer(unsafe { libc::msgsnd(msqid, bytes.as_ptr().cast(), length, libc::IPC_NOWAIT) })
        .map(drop)
}

/// Removes a queue.
///
/// # Errors
/// As `msgctl(2)`: `EINVAL` where it is gone already.
pub fn remove(msqid: i32) -> io::Result<()> {
    // SAFETY: `IPC_RMID` reads no buffer.
    answer(unsafe { libc::msgctl(msqid, libc::IPC_RMID, std::ptr::null_mut()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn messages_are_copied_and_stay() {
        let queue = create(0, 0o600).unwrap();
        let messages = [(3, "first"), (i64::MAX, ""), (1, "last")];
        let messages = messages.map(|(kind, text)| Message {
            kind,
            text: text.into(),
        });
        for message in &messages {
            send(queue, message).unwrap();
        }
        let told = status(queue).unwrap();
        assert_eq!((told.messages, told.waiting_bytes), (3, 9));
        give_to(
            queue,
            told.permissions.uid,
            told.permissions.gid,
            0o600,
            1000,
        )
        .unwrap();
        assert_eq!(status(queue).unwrap().limit_bytes, 1000);
        if copy(queue, 0, 9)
            .err()
            .and_then(|e| Errno::from_io_error(&e))
            != Some(Errno::NOSYS)
        {
            let copies = [0, 1, 2].map(|number| copy(queue, number, 9).unwrap());
            assert_eq!(copies, messages);
            assert!(copy(queue, 3, 9).is_err() && copy(queue, 0, 4).is_err());
        }
        assert_eq!(status(queue).unwrap().messages, 3);
        remove(queue).unwrap();
        assert!(status(queue).is_err() && send(queue, &messages[0]).is_err());
    }
}
