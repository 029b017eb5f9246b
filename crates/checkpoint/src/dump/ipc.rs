//! The tree's IPC namespace: entered for as long as it is looked at, so that numbers mean there what they mean to the tree.
//!
//! Where it is the tree's own, its semaphores, message queues and limits are taken along; messages are copied and stay
//! (`MSG_COPY`). What a process has to undo on semaphores when it ends (`SEM_UNDO`, `semop(2)`) can't be read by anybody,
//! and whether it has anything to undo only be told roughly: it has a list, and was the last on a semaphore.

use crate::coverage::{POSIX_QUEUES, SEMAPHORE_UNDO};
use crate::error::Error;
use crate::ipc::limits::{self, Field};
use crate::ipc::{Within, described, is_apart};
use crate::obstacle::Obstacle;
use crate::snapshot::{Ipc, Queue};
use plimsoll_image::Entry;
use plimsoll_image::proto::{IpcMsg, IpcMsgEntry, IpcSemEntry, IpcVarEntry};
use plimsoll_proc::sysvipc_shm::numbers;
use plimsoll_proc::text::{number, words};
use plimsoll_surgery::stop::StoppedTree;
use plimsoll_sys::kcmp::{self, Shared};
use plimsoll_sys::{sysv_msg, sysv_sem};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::CString;

/// The namespace of the tree's root, and whether it is another than ours.
pub(super) struct Entered {
    pub(super) is_own: bool,
    within: Option<Within>,
}

impl Entered {
    /// Enters it; one that is ours, too, as far as we may.
    pub(super) fn of(pid: u32) -> Result<Self, Error> {
        let is_own = is_apart(pid);
        let within = match Within::enter(pid) {
            Err(_) if !is_own => None,
            within => Some(within?),
        };
        Ok(Self { is_own, within })
    }

    /// Refuses processes that may have semaphores to be given back when they end.
    pub(super) fn refuse_undo(&self, stopped: &StoppedTree) -> Result<(), Error> {
        if self.within.is_none() {
            return Ok(()); // it takes a thread that has no list to compare with
        }
        let users = last_users()?;
        let nobody = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        let has_list = |tid: u32| {
            let compared = kcmp::compare(Shared::SemaphoreUndo, nobody, tid);
            compared.is_ok_and(|order| order != Ordering::Equal)
        };
        let mut found: Vec<Obstacle> = Vec::new();
        for process in &stopped.processes {
            let Some(set) = users.get(&process.name.pid) else {
                continue;
            };
            let mut tids = process.threads.iter().map(|it| it.tid().as_raw_pid());
            if tids.any(|tid| has_list(tid.unsigned_abs())) {
                found.push(SEMAPHORE_UNDO.of(process.name.pid, &[set]));
            }
        }
        if found.is_empty() {
            Ok(())
        } else {
            Err(Error::Refused(found))
        }
    }

    /// What is taken along of a namespace of the tree's own, besides shared memory.
    pub(super) fn look(&self) -> Result<Option<Ipc>, Error> {
        if !self.is_own {
            return Ok(None);
        }
        refuse_posix_queues()?;
        let semaphores = all("sem", "semid")?.into_iter().map(semaphores);
        let queues = all("msg", "msqid")?.into_iter().map(queue);
        Ok(Some(Ipc {
            limits: read_limits()?,
            semaphores: semaphores.collect::<Result<_, _>>()?,
            queues: queues.collect::<Result<_, _>>()?,
        }))
    }
}

/// The numbers of all objects of a kind.
pub(super) fn all(kind: &str, name: &str) -> Result<Vec<i32>, Error> {
    let path = format!("/proc/sysvipc/{kind}");
    let text = std::fs::read(&path).map_err(|source| Error::file("read", path, source))?;
    Ok(numbers(&text, name))
}

/// Who was the last on a semaphore, and of which set.
fn last_users() -> Result<BTreeMap<u32, i32>, Error> {
    let mut users = BTreeMap::new();
    for set in all("sem", "semid")? {
        let count = sysv_sem::status(set).map_or(0, |told| told.count);
        // One that is gone meanwhile, or not ours to ask, has nobody.
        let of_set = (0..count).filter_map(|number| sysv_sem::last_user(set, number).ok());
        users.extend(of_set.map(|pid| (pid, set)));
    }
    Ok(users)
}

fn semaphores(id: i32) -> Result<Entry<IpcSemEntry>, Error> {
    let failed = |source| Error::file("ask about", format!("System V semaphores {id}"), source);
    let told = sysv_sem::status(id).map_err(failed)?;
    let values = (0..told.count).map(|number| Ok(sysv_sem::value(id, number)?.to_le_bytes()));
    let values: std::io::Result<Vec<[u8; 2]>> = values.collect();
    let entry = IpcSemEntry {
        desc: described(id, told.permissions),
        nsems: told.count,
    };
    Ok(Entry::with_payload(entry, values.map_err(failed)?.concat()))
}

fn queue(id: i32) -> Result<Queue, Error> {
    let failed = |source| Error::file("copy", format!("System V message queue {id}"), source);
    let told = sysv_msg::status(id).map_err(failed)?;
    let too_many = || failed(std::io::ErrorKind::FileTooLarge.into());
    let count = u32::try_from(told.messages).map_err(|_| too_many())?;
    let limit = usize::try_from(told.waiting_bytes).map_err(|_| too_many())?;
    let message = |number| {
        let message = sysv_msg::copy(id, number, limit)?;
        let head = IpcMsg {
            mtype: message.kind.unsigned_abs(),
            msize: u32::try_from(message.text.len()).map_err(std::io::Error::other)?,
        };
        Ok(Entry::with_payload(head, message.text))
    };
    let messages: std::io::Result<Vec<Entry<IpcMsg>>> = (0..count).map(message).collect();
    Ok(Queue {
        entry: IpcMsgEntry {
            desc: described(id, told.permissions),
            qbytes: u32::try_from(told.limit_bytes).unwrap_or(u32::MAX),
            qnum: count,
        },
        messages: messages.map_err(failed)?,
    })
}

/// Queues of `mq_open(3)` can only be read by taking what is in them.
fn refuse_posix_queues() -> Result<(), Error> {
    let Ok(context) = fsopen("mqueue", FsOpenFlags::FSOPEN_CLOEXEC) else {
        return Ok(()); // a kernel without them
    };
    let listed = fsconfig_create(&context).and_then(|()| {
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = fsmount(&context, flags, MountAttrFlags::empty())?;
        // What `fsmount` gives can only be gone on from.
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(&mount, c".", readable, Mode::empty())?;
        let names = Dir::read_from(top)?.map(|entry| Ok(entry?.file_name().to_owned()));
        let names: Vec<CString> = names.collect::<rustix::io::Result<_>>()?;
        Ok(names
            .iter()
            .any(|name| ![c".", c".."].contains(&name.as_c_str())))
    });
    match listed {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::refused(POSIX_QUEUES.of(None, &[]))),
        Err(errno) => Err(Error::file("list", "POSIX message queues", errno)),
    }
}

fn read_limits() -> Result<IpcVarEntry, Error> {
    let mut entry = IpcVarEntry {
        sem_ctls: values(limits::SEMAPHORES)?,
        ..IpcVarEntry::default()
    };
    for (name, field) in limits::ALL {
        let read = || values::<u64>(name).map(|all| all.first().copied().unwrap_or(0));
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        match field(&mut entry) {
            Field::Narrow(place) => *place = narrow(read()?),
            Field::Wide(place) => *place = read()?,
            Field::Optional(place) => *place = Some(narrow(read()?)),
        }
    }
    Ok(entry)
}

/// The numbers in a limit's file; none where the kernel has no such limit.
fn values<N: TryFrom<u64>>(name: &str) -> Result<Vec<N>, Error> {
    let path = limits::path(name);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| Error::file("read", path, source))?,
    };
    let value = |word| N::try_from(number(word)?).ok();
    Ok(words(text.trim_ascii()).filter_map(value).collect())
}
