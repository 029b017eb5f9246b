//! Open files, made in our own process and handed over. Each kind has a module with one function, from its entry to a file;
//! a file is made when somebody first needs it, and once.

mod event;
mod inet;
mod locks;
mod memory;
mod namespace;
mod netlink;
mod notify;
mod packet;
mod pipe;
mod raw;
mod regular;
mod shut;
mod stand_in;
mod sysv;
mod tcp;
mod tty;
mod unix;
mod unix_name;

use super::crew::{Crew, Member};
use super::task::Task;
use super::transport::Transport;
use crate::error::Error;
use crate::ipc::Within;
use crate::set::Reading;
use crate::snapshot::Snapshot;
use crate::tcp::lock::Lock;
use plimsoll_image::proto::{FdTypes, FdinfoEntry, FileEntry, FownEntry, VmaEntry};
use plimsoll_sys::file_owner::{self, Owner};
use plimsoll_units::PageSize;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use stand_in::StandIn;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The files of a set, as they are made.
pub(crate) struct Files<'s> {
    snapshot: &'s Snapshot,
    set: &'s Reading,
    page_size: PageSize,
    made: BTreeMap<u32, OwnedFd>,
    mapped: BTreeMap<MappedFile, OwnedFd>,
    ghosts: BTreeMap<u32, OwnedFd>,
    pipes: BTreeMap<u32, pipe::Ends>,
    fifos: BTreeMap<u32, OwnedFd>,
    memory: BTreeMap<u32, memory::Object>,
    segments: sysv::Segments,
    /// Behind the segments: those of our making are removed where they were made.
    ipc: Option<Within>,
    terminals: tty::Terminals,
    /// Other halves of pairs, until somebody needs them.
    sockets: BTreeMap<u32, OwnedFd>,
    /// Files of UNIX sockets with a name, by the sockets' inodes.
    socket_files: BTreeMap<u32, OwnedFd>,
    /// Sockets that connect by name once all are there: id, and the inode of whom they know.
    connect_later: Vec<(u32, u32)>,
    /// Processes that pidfds of ended ones lead to, by the inode of the pidfd.
    ended: BTreeMap<u32, StandIn>,
    /// Processes that stand for ended ones in `/proc`, until everybody has what he needs of them.
    ended_in_proc: BTreeMap<u32, StandIn>,
    /// No packet of a connection passes as long as it is there.
    lock: Option<Lock>,
    /// Connections come back closed.
    close_connections: bool,
    /// Names that are only there for this restore.
    spare_names: BTreeSet<PathBuf>,
}

/// A file of a mapping, which may have been opened otherwise than its entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MappedFile {
    id: u32,
    flags: u32,
}

impl MappedFile {
    pub(super) fn of(vma: &VmaEntry) -> Self {
        Self {
            id: u32::try_from(vma.shmid).unwrap_or(0),
            flags: vma.fdflags.unwrap_or(0),
        }
    }
}

impl<'s> Files<'s> {
    pub(super) fn new(
        snapshot: &'s Snapshot,
        set: &'s Reading,
        page_size: PageSize,
        close_connections: bool,
    ) -> Self {
        let mut files = Self {
            snapshot,
            set,
            page_size,
            made: BTreeMap::new(),
            mapped: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            pipes: BTreeMap::new(),
            fifos: BTreeMap::new(),
            memory: BTreeMap::new(),
            segments: sysv::Segments::default(),
            ipc: None,
            terminals: tty::Terminals::default(),
            sockets: BTreeMap::new(),
            socket_files: BTreeMap::new(),
            connect_later: Vec::new(),
            ended: BTreeMap::new(),
            ended_in_proc: BTreeMap::new(),
            lock: None,
            close_connections,
            spare_names: BTreeSet::new(),
        };
        files.lock = tcp::hold(&files);
        files
    }

    fn entry(&self, id: u32) -> Result<&'s FileEntry, Error> {
        let missing = || Error::inconsistent(format!("file {id} is not there"));
        self.snapshot.files.get(&id).ok_or_else(missing)
    }

    /// An open file.
    pub(super) fn get(&mut self, id: u32) -> Result<BorrowedFd<'_>, Error> {
        if !self.made.contains_key(&id) {
            let file = self.make(id)?;
            self.made.insert(id, file);
        }
        let missing = || Error::inconsistent(format!("file {id} is not there"));
        self.made.get(&id).map(AsFd::as_fd).ok_or_else(missing)
    }

    fn make(&mut self, id: u32) -> Result<OwnedFd, Error> {
        let entry = self.entry(id)?;
        match entry.r#type() {
            FdTypes::Reg => regular::open_as(self, id, None),
            FdTypes::Pipe => pipe::pipe(self, entry),
            FdTypes::Fifo => pipe::fifo(self, entry),
            FdTypes::Memfd => memory::file(self, entry, None),
            FdTypes::Eventfd => event::eventfd(entry),
            FdTypes::Eventpoll => event::epoll(entry),
            FdTypes::Timerfd => event::timerfd(entry),
            FdTypes::Signalfd => event::signalfd(entry),
            FdTypes::Pidfd => event::pidfd(self, entry),
            FdTypes::Ns => namespace::file(entry),
            FdTypes::Unixsk => unix::socket(self, entry),
            FdTypes::Tty => tty::file(self, entry),
            FdTypes::Inetsk => inet::socket(self, entry),
            FdTypes::Inotify => notify::inotify(entry),
            FdTypes::Fanotify => notify::group(entry),
            FdTypes::Packetsk => packet::socket(entry),
            FdTypes::Netlinksk => netlink::socket(entry),
            other => Err(Error::inconsistent(format!(
                "file {id} is {}, which can't be made",
                other.as_str_name()
            ))),
        }
    }

    /// The files of mappings, as these had them open.
    pub(super) fn mapped(&mut self, all: &[MappedFile]) -> Result<Vec<BorrowedFd<'_>>, Error> {
        for file in all {
            self.open_mapped(*file)?;
        }
        let found = |file: &MappedFile| {
            // A packet socket's ring is its own: nobody opens another for the mapping.
            let file = self.mapped.get(file).or_else(|| self.made.get(&file.id));
            file.map(AsFd::as_fd)
        };
        all.iter()
            .map(|file| {
                let id = file.id;
                found(file).ok_or_else(|| Error::inconsistent(format!("file {id} is not there")))
            })
            .collect()
    }

    fn open_mapped(&mut self, wanted: MappedFile) -> Result<(), Error> {
        let MappedFile { id, flags } = wanted;
        let entry = self.entry(id)?;
        let file = match entry.r#type() {
            FdTypes::Packetsk => return self.get(id).map(drop),
            _ if self.mapped.contains_key(&wanted) => return Ok(()),
            FdTypes::Reg => regular::open_as(self, id, Some(flags))?,
            FdTypes::Memfd => memory::file(self, entry, Some(flags))?,
            other => {
                let what = format!("a mapping of file {id}, which is {}", other.as_str_name());
                return Err(Error::inconsistent(what));
            }
        };
        self.mapped.insert(wanted, file);
        Ok(())
    }

    /// Attaches a System V segment where a mapping has it.
    pub(super) fn attach(&mut self, task: &mut Task, vma: &VmaEntry) -> Result<(), Error> {
        sysv::attach(self, task, vma)
    }

    /// The calling thread is in an IPC namespace of the tree's own, as long as files are made: its segments are made, too.
    pub(super) fn enter_ipc(&mut self, within: Within) -> Result<(), Error> {
        self.ipc = Some(within);
        sysv::all(self)
    }

    /// Whether a directory is the root that we have ourselves.
    pub(super) fn is_our_root(&self, id: u32) -> bool {
        let reg = self
            .snapshot
            .files
            .get(&id)
            .and_then(|entry| entry.reg.as_ref());
        reg.is_none_or(|reg| reg.name == b"/")
    }

    /// Gives every process its descriptors.
    pub(super) fn install(
        &mut self,
        crew: &mut Crew,
        snapshot: &Snapshot,
        transport: &Transport,
    ) -> Result<(), Error> {
        tty::prepare(self, crew, transport)?;
        let mut done = BTreeSet::new();
        for process in snapshot
            .processes
            .iter()
            .filter(|process| process.mm.is_some())
        {
            if !done.insert(process.ids.files_id) {
                continue; // shared with its parent
            }
            let Some(table) = snapshot.tables.get(&process.ids.files_id) else {
                continue;
            };
            let mut table: Vec<&FdinfoEntry> = table.iter().collect();
            table.sort_by_key(|entry| entry.fd);
            let member = crew.member(process.pid())?;
            let socket = member.socket;
            if let Some(last) = table.last() {
                allow_number(&mut member.leader, last.fd)?;
            }
            for entry in table {
                let file = self.get(entry.id)?;
                let task = &mut member.leader;
                let number = transport.hand_over(task, socket, file)?;
                let wanted = entry.fd;
                let cloexec = u64::from(entry.flags & 1); // FD_CLOEXEC
                if number == wanted {
                    const F_SETFD: u64 = libc::F_SETFD.unsigned_abs() as u64;
                    if cloexec == 0 {
                        task.call(
                            "mark a descriptor",
                            libc::SYS_fcntl,
                            [wanted.into(), F_SETFD, 0],
                        )?;
                    }
                } else {
                    let flags = cloexec * u64::from(libc::O_CLOEXEC.unsigned_abs());
                    task.call(
                        "move a descriptor",
                        libc::SYS_dup3,
                        [number.into(), wanted.into(), flags],
                    )?;
                    task.call("close a descriptor", libc::SYS_close, [number.into()])?;
                }
            }
        }
        Ok(())
    }

    /// Gives a leader of a session, which has just begun it, the terminal that controls it.
    pub(super) fn control(
        &mut self,
        member: &mut Member,
        pid: u32,
        transport: &Transport,
    ) -> Result<(), Error> {
        tty::control(self, member, pid, transport)
    }

    /// What has to wait until all descriptors are in place.
    pub(super) fn finish(
        &mut self,
        crew: &mut Crew,
        snapshot: &Snapshot,
        transport: &Transport,
    ) -> Result<(), Error> {
        unix::finish(self)?;
        inet::finish(self)?;
        event::watch(self, crew, snapshot, transport)?;
        locks::take(self, crew, snapshot)?;
        tty::finish(self)?;
        for object in self.memory.values() {
            object.seal()?;
        }
        for name in &self.spare_names {
            let _ = std::fs::remove_file(name);
        }
        notify::watch(self)
    }

    /// The tree is complete: from now on peers hear of it.
    pub(super) fn resume(mut self) -> Result<(), Error> {
        sysv::keep(&mut self);
        tcp::resume(&mut self)
    }
}

/// Lets a process have a descriptor of this number; its own limit comes later.
fn allow_number(task: &mut Task, highest: u32) -> Result<(), Error> {
    let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let Some(most) = ours
        .maximum
        .filter(|_| ours.current.is_some_and(|now| now <= highest.into()))
    else {
        return Ok(());
    };
    let at = task.argument(&[most.to_ne_bytes(), most.to_ne_bytes()].concat())?;
    let args = [0, libc::RLIMIT_NOFILE.into(), at, 0];
    task.call("set a limit of", libc::SYS_prlimit64, args)?;
    Ok(())
}

/// Gives a file the flags that can be set while it is open, and its owner.
fn settle(file: &OwnedFd, flags: u32, owner: &FownEntry) -> Result<(), Error> {
    let settable = OFlags::APPEND
        | OFlags::NONBLOCK
        | OFlags::DIRECT
        | OFlags::NOATIME
        | OFlags::from_bits_retain(libc::O_ASYNC.unsigned_abs());
    let wanted = OFlags::from_bits_retain(flags) & settable;
    let failed = |errno: Errno| {
        Error::file(
            "set the flags of",
            format!("file {}", file.as_raw_fd()),
            errno,
        )
    };
    fcntl_setfl(file, wanted).map_err(failed)?;
    own(file, owner)
}

/// Gives a file its owner.
fn own(file: &OwnedFd, owner: &FownEntry) -> Result<(), Error> {
    let owner = Owner {
        kind: owner.pid_type.cast_signed(),
        id: owner.pid.cast_signed(),
        signal: owner.signum.cast_signed(),
        users: (owner.uid, owner.euid),
    };
    if owner.id == 0 && owner.signal == 0 {
        return Ok(());
    }
    file_owner::set(file, &owner).map_err(|errno| Error::file("set the owner of", "a file", errno))
}

/// The path of one of our own descriptors, to open its file anew.
fn itself(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}
