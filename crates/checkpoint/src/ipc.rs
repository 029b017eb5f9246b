//! IPC namespaces (`ipc_namespaces(7)`): whether a tree has one of its own, and a way into it.
//!
//! System V objects live in a namespace, not in a process. Where the tree is in ours, what it has not attached stays there;
//! where it has one of its own, all of that goes with the tree, and all of it is taken along.

use crate::error::Error;
use plimsoll_image::proto::IpcDescEntry;
use plimsoll_sys::sysv::Permissions;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The number of the tree's own in our images; see [`crate::namespace::ALL`] for ours.
pub(crate) const OWN: u32 = 9;

/// Whether a process has another namespace than the calling thread.
pub(crate) fn is_apart(pid: u32) -> bool {
    let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/ipc")).ok();
    of(&pid.to_string()) != of("thread-self")
}

/// The calling thread is in another namespace, as long as this lives.
#[derive(Debug)]
pub(crate) struct Within {
    back: OwnedFd,
}

impl Within {
    /// Enters the namespace of a process. Entering also rids the thread of its list of semaphores to be undone, also where
    /// the namespace is the one it is in.
    pub(crate) fn enter(pid: u32) -> Result<Self, Error> {
        let back = namespace("thread-self")?;
        let there = namespace(&pid.to_string())?;
        go(&there).map_err(|errno| Error::file("enter", format!("/proc/{pid}/ns/ipc"), errno))?;
        Ok(Self { back })
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let _ = go(&self.back); // what let us in lets us out
    }
}

fn namespace(who: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{who}/ns/ipc");
    open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", path, errno))
}

fn go(to: &OwnedFd) -> rustix::io::Result<()> {
    let kind = LinkNameSpaceType::InterProcessCommunication;
    move_into_link_name_space(to.as_fd(), Some(kind))
}

/// What the images say of an object of any kind.
pub(crate) fn described(id: i32, permissions: Permissions) -> IpcDescEntry {
    IpcDescEntry {
        key: permissions.key.cast_unsigned(),
        uid: permissions.uid,
        gid: permissions.gid,
        cuid: permissions.creator.0,
        cgid: permissions.creator.1,
        mode: permissions.mode,
        id: id.cast_unsigned(),
    }
}

/// Limits of a namespace, each with its place among the messages' fields.
pub(crate) mod limits {
    use plimsoll_image::proto::IpcVarEntry;

    /// A file below `/proc/sys`, and the field that holds its number.
    pub(crate) type Limit = (&'static str, fn(&mut IpcVarEntry) -> Field<'_>);

    /// A field.
    pub(crate) enum Field<'f> {
        Narrow(&'f mut u32),
        Wide(&'f mut u64),
        /// Its file is absent where POSIX queues are.
        Optional(&'f mut Option<u32>),
    }

    /// All but `kernel/sem`, which is four numbers.
    pub(crate) const ALL: [Limit; 13] = [
        ("kernel/msgmax", |e| Field::Narrow(&mut e.msg_ctlmax)),
        ("kernel/msgmnb", |e| Field::Narrow(&mut e.msg_ctlmnb)),
        ("kernel/msgmni", |e| Field::Narrow(&mut e.msg_ctlmni)),
        ("kernel/auto_msgmni", |e| Field::Narrow(&mut e.auto_msgmni)),
        ("kernel/shmmax", |e| Field::Wide(&mut e.shm_ctlmax)),
        ("kernel/shmall", |e| Field::Wide(&mut e.shm_ctlall)),
        ("kernel/shmmni", |e| Field::Narrow(&mut e.shm_ctlmni)),
        ("kernel/shm_rmid_forced", |e| {
            Field::Narrow(&mut e.shm_rmid_forced)
        }),
        ("fs/mqueue/queues_max", |e| {
            Field::Narrow(&mut e.mq_queues_max)
        }),
        ("fs/mqueue/msg_max", |e| Field::Narrow(&mut e.mq_msg_max)),
        ("fs/mqueue/msgsize_max", |e| {
            Field::Narrow(&mut e.mq_msgsize_max)
        }),
        ("fs/mqueue/msg_default", |e| {
            Field::Optional(&mut e.mq_msg_default)
        }),
        ("fs/mqueue/msgsize_default", |e| {
            Field::Optional(&mut e.mq_msgsize_default)
        }),
    ];

    /// The four numbers of semaphores.
    pub(crate) const SEMAPHORES: &str = "kernel/sem";

    /// A limit's file.
    pub(crate) fn path(name: &str) -> String {
        format!("/proc/sys/{name}")
    }
}
