//! An IPC namespace of the tree's own: begun by its root, and filled by us, who enter it as long as the tree is made.
//!
//! Objects get their numbers by `kernel.{sem,msg}_next_id` (Linux 3.9, `CONFIG_CHECKPOINT_RESTORE`). In a new namespace all
//! numbers and keys are free, and on failure it goes with the tree.

use super::task::Task;
use crate::error::Error;
use crate::ipc::Within;
use crate::ipc::limits::{self, Field};
use crate::snapshot::{Ipc, Queue};
use plimsoll_image::Entry;
use plimsoll_image::proto::{IpcDescEntry, IpcSemEntry, IpcVarEntry};
use plimsoll_sys::sysv_msg::Message;
use plimsoll_sys::{sysv_msg, sysv_sem};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::io;

/// Begins it in the root of the tree, and fills it with all but shared memory.
pub(super) fn begin(task: &mut Task, ipc: &Ipc) -> Result<Within, Error> {
    let flag = u64::from(libc::CLONE_NEWIPC.unsigned_abs());
    task.call("begin an IPC namespace in", libc::SYS_unshare, [flag])?;
    let within = Within::enter(task.tid.as_raw_pid().unsigned_abs())?;
    set_limits(&ipc.limits)?;
    ipc.queues.iter().try_for_each(queue)?;
    ipc.semaphores.iter().try_for_each(semaphores)?;
    Ok(within)
}

fn semaphores(set: &Entry<IpcSemEntry>) -> Result<(), Error> {
    let desc = &set.message.desc;
    let name = format!("System V semaphores {}", desc.id);
    let failed = |source| Error::file("make", &name, source);
    let id = numbered("sem", desc, || {
        sysv_sem::create(desc.key.cast_signed(), set.message.nsems, desc.mode)
    })?;
    let (values, _) = set.payload.as_chunks::<2>();
    for (number, value) in (0..set.message.nsems).zip(values) {
        sysv_sem::set_value(id, number, u16::from_le_bytes(*value)).map_err(failed)?;
    }
    sysv_sem::give_to(id, desc.uid, desc.gid, desc.mode).map_err(failed)
}

fn queue(queue: &Queue) -> Result<(), Error> {
    let (desc, limit) = (&queue.entry.desc, queue.entry.qbytes);
    let name = format!("System V message queue {}", desc.id);
    let failed = |source| Error::file("make", &name, source);
    let id = numbered("msg", desc, || {
        sysv_msg::create(desc.key.cast_signed(), desc.mode)
    })?;
    sysv_msg::give_to(id, desc.uid, desc.gid, desc.mode, limit.into()).map_err(failed)?;
    for message in &queue.messages {
        let message = Message {
            kind: message.message.mtype.cast_signed(),
            text: message.payload.clone(),
        };
        sysv_msg::send(id, &message).map_err(failed)?;
    }
    Ok(())
}

/// Makes an object by its number.
fn numbered(
    kind: &str,
    desc: &IpcDescEntry,
    make: impl FnOnce() -> io::Result<i32>,
) -> Result<i32, Error> {
    let next = format!("/proc/sys/kernel/{kind}_next_id");
    std::fs::write(&next, desc.id.to_string())
        .map_err(|source| Error::file("write", &next, source))?;
    let name = format!("System V object {} ({kind})", desc.id);
    let made = as_creator(desc, make).map_err(|source| Error::file("make", &name, source))?;
    if made == desc.id.cast_signed() {
        return Ok(made);
    }
    let taken = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(Error::file("make", name, taken))
}

/// Makes an object in the name of who made it first: its creator is whoever makes it, by effective ids, and may remove it ever
/// after. Only this thread takes them on, and only for so long.
pub(super) fn as_creator<T>(
    desc: &IpcDescEntry,
    make: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let ours = (geteuid(), getegid());
    if (ours.0.as_raw(), ours.1.as_raw()) == (desc.cuid, desc.cgid) {
        return make();
    }
    // The group first: who is no longer root may not take on another.
    set_thread_res_gid(None, Gid::from_raw(desc.cgid), None)?;
    let made = set_thread_res_uid(None, Uid::from_raw(desc.cuid), None)
        .map_err(io::Error::from)
        .and_then(|()| make());
    // What is still the real id may be the effective one again.
    set_thread_res_uid(None, ours.0, None)?;
    set_thread_res_gid(None, ours.1, None)?;
    made
}

/// Sets what is otherwise in a new namespace.
fn set_limits(wanted: &IpcVarEntry) -> Result<(), Error> {
    let semaphores: Vec<String> = wanted.sem_ctls.iter().map(u32::to_string).collect();
    set(limits::SEMAPHORES, &semaphores.join("\t"))?;
    let mut wanted = wanted.clone();
    for (name, field) in limits::ALL {
        match field(&mut wanted) {
            Field::Narrow(value) => set(name, &value.to_string())?,
            Field::Wide(value) => set(name, &value.to_string())?,
            Field::Optional(Some(value)) => set(name, &value.to_string())?,
            Field::Optional(None) => {}
        }
    }
    Ok(())
}

fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = limits::path(name);
    let now = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        now => now.map_err(|source| Error::file("read", &path, source))?,
    };
    if now.trim() == value || value.is_empty() {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| Error::file("write", path, source))
}
