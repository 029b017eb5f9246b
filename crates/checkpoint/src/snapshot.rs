//! A checkpoint without its pages: what every image of a set says, as CRIU's messages. The dump fills one and writes it; the
//! restore reads one, and decides by it before it makes anything.

use crate::error::Error;
use crate::file_order::in_order;
use crate::set::{Reading, Writing};
use plimsoll_image::proto::{
    CgroupEntry, CoreEntry, FdinfoEntry, FileEntry, FileLockEntry, FsEntry, GhostChunkEntry,
    GhostFileEntry, InventoryEntry, IpcMsg, IpcMsgEntry, IpcSemEntry, IpcShmEntry, IpcVarEntry,
    MemfdInodeEntry, MmEntry, PipeDataEntry, PstreeEntry, RemapFilePathEntry, SeccompEntry,
    SkPacketEntry, TaskKobjIdsEntry, TcpStreamEntry, TtyDataEntry, TtyInfoEntry,
};
use plimsoll_image::{Entry, Kind};
use std::collections::BTreeMap;

/// `TASK_ALIVE`, `TASK_DEAD`, `TASK_STOPPED` of the images.
pub(crate) const ALIVE: u32 = 1;
pub(crate) const DEAD: u32 = 2;
pub(crate) const STOPPED: u32 = 3;

/// Everything but pages.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) inventory: InventoryEntry,
    /// Parents before their children.
    pub(crate) processes: Vec<Process>,
    /// Descriptor tables, by their id.
    pub(crate) tables: BTreeMap<u32, Vec<FdinfoEntry>>,
    /// Open files, by their id.
    pub(crate) files: BTreeMap<u32, FileEntry>,
    pub(crate) remaps: Vec<RemapFilePathEntry>,
    /// Unlinked files with their content, by their id.
    pub(crate) ghosts: BTreeMap<u32, Ghost>,
    pub(crate) pipes: Vec<Entry<PipeDataEntry>>,
    pub(crate) fifos: Vec<Entry<PipeDataEntry>>,
    pub(crate) memfds: Vec<MemfdInodeEntry>,
    pub(crate) queues: Vec<Entry<SkPacketEntry>>,
    pub(crate) locks: Vec<FileLockEntry>,
    pub(crate) ttys: Vec<TtyInfoEntry>,
    pub(crate) tty_data: Vec<TtyDataEntry>,
    pub(crate) seccomp: SeccompEntry,
    /// System V shared memory.
    pub(crate) segments: Vec<IpcShmEntry>,
    /// Of an IPC namespace of the tree's own.
    pub(crate) ipc: Option<Ipc>,
    /// Groups that the tree was in, where they were not its dumper's.
    pub(crate) cgroups: Option<CgroupEntry>,
    /// Established connections, by the inode of their socket.
    pub(crate) tcp: BTreeMap<u32, Entry<TcpStreamEntry>>,
}

/// What an IPC namespace holds, besides shared memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ipc {
    pub(crate) limits: IpcVarEntry,
    /// With their values, two bytes each.
    pub(crate) semaphores: Vec<Entry<IpcSemEntry>>,
    pub(crate) queues: Vec<Queue>,
}

/// A message queue of System V.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    pub(crate) entry: IpcMsgEntry,
    /// In the order that they were sent in.
    pub(crate) messages: Vec<Entry<IpcMsg>>,
}

/// An unlinked file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ghost {
    pub(crate) entry: GhostFileEntry,
    /// What it holds, by offset; the rest of its size is holes.
    pub(crate) chunks: Vec<(u64, Vec<u8>)>,
}

/// One process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub(crate) node: PstreeEntry,
    /// Its threads by id, the leader first.
    pub(crate) threads: Vec<(u32, CoreEntry)>,
    pub(crate) ids: TaskKobjIdsEntry,
    /// A zombie has neither memory nor a working directory.
    pub(crate) mm: Option<MmEntry>,
    pub(crate) fs: Option<FsEntry>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.node.pid
    }

    /// What its leader's image says of the whole process.
    pub(crate) fn whole(&self) -> Option<&plimsoll_image::proto::TaskCoreEntry> {
        self.threads.first().and_then(|(_, core)| core.tc.as_ref())
    }

    pub(crate) fn state(&self) -> u32 {
        self.whole().map_or(ALIVE, |whole| whole.task_state)
    }
}

impl Snapshot {
    /// Reads a set.
    pub(crate) fn read(set: &Reading) -> Result<Self, Error> {
        let mut snapshot = Self {
            inventory: set.one(Kind::Inventory, 0u64)?,
            remaps: messages(set.all(Kind::RemapFpath, 0)?),
            pipes: set.all(Kind::PipesData, 0)?,
            fifos: set.all(Kind::FifoData, 0)?,
            memfds: messages(set.all(Kind::MemfdInode, 0)?),
            queues: set.all(Kind::SkQueues, 0)?,
            locks: messages(set.all(Kind::FileLocks, 0)?),
            cgroups: messages(set.all(Kind::Cgroup, 0)?).pop(),
            ttys: messages(set.all(Kind::TtyInfo, 0)?),
            tty_data: messages(set.all(Kind::TtyData, 0)?),
            seccomp: messages(set.all(Kind::Seccomp, 0)?)
                .pop()
                .unwrap_or_default(),
            ..Self::default()
        };
        for file in messages::<FileEntry>(set.all(Kind::Files, 0)?) {
            snapshot.files.insert(file.id, file);
        }
        for node in messages::<PstreeEntry>(set.all(Kind::Pstree, 0)?) {
            snapshot.processes.push(read_process(set, node)?);
        }
        for process in &snapshot.processes {
            let table = process.ids.files_id;
            if process.mm.is_some() && !snapshot.tables.contains_key(&table) {
                let entries = messages(set.all(Kind::Fdinfo, table.into())?);
                snapshot.tables.insert(table, entries);
            }
        }
        let namespace = snapshot.ipc_namespace();
        snapshot.segments = messages(set.all(Kind::IpcShm, namespace)?);
        if snapshot.has_own(|ids| ids.ipc_ns_id) {
            snapshot.ipc = Some(read_ipc(set, namespace)?);
        }
        let ghosts = snapshot.remaps.iter();
        let ghosts =
            ghosts.filter(|remap| remap.remap_type() == plimsoll_image::proto::RemapType::Ghost);
        for id in ghosts.map(|remap| remap.remap_id).collect::<Vec<_>>() {
            if let Some(ghost) = read_ghost(set, id)? {
                snapshot.ghosts.insert(id, ghost);
            }
        }
        for file in snapshot.files.values() {
            if let Some(socket) = &file.isk {
                let mut stream = set.all::<TcpStreamEntry>(Kind::TcpStream, socket.ino.into())?;
                snapshot
                    .tcp
                    .extend(stream.pop().map(|stream| (socket.ino, stream)));
            }
        }
        Ok(snapshot)
    }

    /// Whether the tree has a namespace of some kind that its dumper had not.
    pub(crate) fn has_own(&self, id: fn(&TaskKobjIdsEntry) -> Option<u32>) -> bool {
        let root = self.inventory.root_ids.as_ref().and_then(id);
        let of_tree = self.processes.first().and_then(|top| id(&top.ids));
        root.zip(of_tree).is_some_and(|(root, own)| root != own)
    }

    /// The number of the IPC namespace.
    fn ipc_namespace(&self) -> u64 {
        let top = self.processes.first();
        top.and_then(|top| top.ids.ipc_ns_id).unwrap_or(0).into()
    }

    /// Writes all of it; the inventory last.
    pub(crate) fn write(&self, set: &Writing) -> Result<(), Error> {
        for process in &self.processes {
            let pid = process.pid().into();
            for (tid, core) in &process.threads {
                set.messages(Kind::Core, (*tid).into(), [core.clone()])?;
            }
            if let Some(mm) = &process.mm {
                set.messages(Kind::Mm, pid, [mm.clone()])?;
                set.messages(Kind::Ids, pid, [process.ids])?;
            }
            if let Some(fs) = &process.fs {
                set.messages(Kind::Fs, pid, [*fs])?;
            }
        }
        set.messages(
            Kind::Pstree,
            0,
            self.processes.iter().map(|p| p.node.clone()),
        )?;
        set.messages(Kind::Files, 0, in_order(&self.files))?;
        for (id, table) in &self.tables {
            set.messages(Kind::Fdinfo, (*id).into(), table.iter().cloned())?;
        }
        for (id, ghost) in &self.ghosts {
            write_ghost(set, *id, ghost)?;
        }
        for (ino, stream) in &self.tcp {
            set.all(Kind::TcpStream, (*ino).into(), [stream])?;
        }
        set.messages(Kind::Seccomp, 0, [self.seccomp.clone()])?;
        some(&self.pipes, |all| set.all(Kind::PipesData, 0, all))?;
        some(&self.fifos, |all| set.all(Kind::FifoData, 0, all))?;
        some(&self.queues, |all| set.all(Kind::SkQueues, 0, all))?;
        some(&self.remaps, |all| {
            set.messages(Kind::RemapFpath, 0, all.iter().copied())
        })?;
        some(&self.memfds, |all| {
            set.messages(Kind::MemfdInode, 0, all.iter().cloned())
        })?;
        if !self.segments.is_empty() || self.ipc.is_some() {
            let all = self.segments.iter().copied();
            set.messages(Kind::IpcShm, self.ipc_namespace(), all)?;
        }
        if let Some(ipc) = &self.ipc {
            write_ipc(set, self.ipc_namespace(), ipc)?;
        }
        if let Some(cgroups) = &self.cgroups {
            set.messages(Kind::Cgroup, 0, [cgroups.clone()])?;
        }
        some(&self.locks, |all| {
            set.messages(Kind::FileLocks, 0, all.iter().copied())
        })?;
        some(&self.ttys, |all| {
            set.messages(Kind::TtyInfo, 0, all.iter().cloned())
        })?;
        some(&self.tty_data, |all| {
            set.messages(Kind::TtyData, 0, all.iter().cloned())
        })?;
        set.messages(Kind::Inventory, 0, [self.inventory.clone()])
    }
}

/// Resources that a tree does not have leave no file.
fn some<T>(all: &[T], write: impl FnOnce(&[T]) -> Result<(), Error>) -> Result<(), Error> {
    if all.is_empty() { Ok(()) } else { write(all) }
}

fn messages<T>(entries: Vec<Entry<T>>) -> Vec<T> {
    entries.into_iter().map(|entry| entry.message).collect()
}

fn read_process(set: &Reading, node: PstreeEntry) -> Result<Process, Error> {
    let leader: CoreEntry = set.one(Kind::Core, node.pid)?;
    // Of one that has ended CRIU names a thread that never was.
    let has_ended = leader
        .tc
        .as_ref()
        .is_some_and(|whole| whole.task_state == DEAD);
    let mut threads = vec![(node.pid, leader)];
    let others = node.threads.iter().copied();
    for tid in others.filter(|tid| *tid != node.pid && !has_ended) {
        threads.push((tid, set.one(Kind::Core, tid)?));
    }
    let mut process = Process {
        node,
        threads,
        ..Process::default()
    };
    if process.state() != DEAD {
        let pid = process.pid();
        process.ids = set.one(Kind::Ids, pid)?;
        process.mm = Some(set.one(Kind::Mm, pid)?);
        process.fs = Some(set.one(Kind::Fs, pid)?);
    }
    Ok(process)
}

/// An unlinked file: its chunks follow it, or all of it does.
fn read_ghost(set: &Reading, id: u32) -> Result<Option<Ghost>, Error> {
    let path = set.path(Kind::GhostFile, id);
    let failed = |source| Error::image(&path, source);
    let file = std::io::BufReader::new(set.open(Kind::GhostFile, id)?);
    let mut reader = plimsoll_image::Reader::open_as(file, Kind::GhostFile).map_err(failed)?;
    let Some(whole) = reader.next_entry::<GhostFileEntry>().map_err(failed)? else {
        return Ok(None);
    };
    let mut ghost = Ghost {
        entry: whole.message,
        chunks: Vec::new(),
    };
    if ghost.entry.chunks != Some(true) {
        ghost.entry.size = Some(whole.payload.len() as u64);
        ghost.chunks.push((0, whole.payload));
        return Ok(Some(ghost));
    }
    while let Some(chunk) = reader.next_entry::<GhostChunkEntry>().map_err(failed)? {
        ghost.chunks.push((chunk.off, chunk.payload));
    }
    Ok(Some(ghost))
}

fn write_ghost(set: &Writing, id: u32, ghost: &Ghost) -> Result<(), Error> {
    let name = Kind::GhostFile.file_name(id.into());
    let failed = |source| Error::image(&name, source);
    let mut writer = plimsoll_image::Writer::new(Vec::new(), Kind::GhostFile).map_err(failed)?;
    writer
        .push(&Entry::from(ghost.entry.clone()))
        .map_err(failed)?;
    for (off, bytes) in &ghost.chunks {
        let len = bytes.len() as u64;
        let chunk = Entry::with_payload(GhostChunkEntry { len, off: *off }, bytes.clone());
        writer.push(&chunk).map_err(failed)?;
    }
    set.put(&name, &writer.into_inner())
}

fn read_ipc(set: &Reading, id: u64) -> Result<Ipc, Error> {
    let mut ipc = Ipc {
        limits: set.one(Kind::IpcVar, id)?,
        semaphores: set.all(Kind::IpcSem, id)?,
        queues: Vec::new(),
    };
    let path = set.path(Kind::IpcMsg, id);
    let failed = |source| Error::image(&path, source);
    let file = std::io::BufReader::new(set.open(Kind::IpcMsg, id)?);
    let mut reader = plimsoll_image::Reader::open_as(file, Kind::IpcMsg).map_err(failed)?;
    while let Some(entry) = reader.next_entry::<IpcMsgEntry>().map_err(failed)? {
        let mut queue = Queue {
            entry: entry.message,
            messages: Vec::new(),
        };
        for _ in 0..queue.entry.qnum {
            let message = reader.next_entry::<IpcMsg>().map_err(failed)?;
            let missing = || Error::inconsistent("a message queue ends early");
            queue.messages.push(message.ok_or_else(missing)?);
        }
        ipc.queues.push(queue);
    }
    Ok(ipc)
}

/// CRIU wants all files of a namespace, also where they say nothing.
fn write_ipc(set: &Writing, id: u64, ipc: &Ipc) -> Result<(), Error> {
    set.messages(Kind::IpcVar, id, [ipc.limits.clone()])?;
    set.all(Kind::IpcSem, id, &ipc.semaphores)?;
    let name = Kind::IpcMsg.file_name(id);
    let failed = |source| Error::image(&name, source);
    let mut writer = plimsoll_image::Writer::new(Vec::new(), Kind::IpcMsg).map_err(failed)?;
    for queue in &ipc.queues {
        writer.push(&Entry::from(queue.entry)).map_err(failed)?;
        for message in &queue.messages {
            writer.push(message).map_err(failed)?;
        }
    }
    set.put(&name, &writer.into_inner())
}
