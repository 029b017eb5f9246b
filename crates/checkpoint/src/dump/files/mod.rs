//! Open files: which descriptors lead to which, and what each is.
//!
//! A descriptor is duplicated into our process (`pidfd_getfd(2)`) and asked there: the duplicate is the same open file, so
//! nothing has to be executed in the target. Which of them are one and the same, the kernel says (`kcmp(2)`).
//! Each kind of file has a module of its own with one function, from an [`Open`] file to its entry.

mod datagrams;
mod event;
mod inet;
mod locks;
pub(super) mod look;
mod memory;
mod namespace;
mod netlink;
mod notify;
mod packet;
mod peek;
mod pipe;
mod regular;
mod sysv;
pub(crate) mod tcp;
mod tty;
mod unix;

use super::Options;
use crate::coverage::{LOCKS, MAPPING, OTHER_FILE, OTHER_FILES, mapped};
use crate::error::Error;
use crate::snapshot::{Ghost, Snapshot};
use plimsoll_image::Entry;
use plimsoll_image::proto::{
    FdTypes, FdinfoEntry, FileEntry, FileLockEntry, FownEntry, FsEntry, MemfdInodeEntry,
    PipeDataEntry, RemapFilePathEntry, SkPacketEntry, VmaEntry,
};
use plimsoll_proc::Root;
use plimsoll_proc::process::fdinfo::Fdinfo;
use plimsoll_proc::process::maps::Mapping;
use plimsoll_proc::process::status::field;
use plimsoll_sys::{file_owner, kcmp};
use plimsoll_units::PageSize;
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

/// All open files of a tree, as they are found.
#[derive(Debug)]
pub(super) struct Files {
    options: Options,
    /// Nothing is read, held still or opened anew: the tree runs.
    only_look: bool,
    last_id: u32,
    /// One descriptor (process, number) for each open file, in the kernel's order of open files.
    known: Vec<((u32, u32), u32)>,
    entries: BTreeMap<u32, FileEntry>,
    tables: BTreeMap<u32, Vec<FdinfoEntry>>,
    /// Files that are only mapped, or programs: by device, inode, flags and path.
    mapped: BTreeMap<(u64, u64, u32, Vec<u8>), u32>,
    ghosts: BTreeMap<(u64, u64), (u32, Ghost)>,
    remaps: Vec<RemapFilePathEntry>,
    pipes: BTreeMap<u32, Option<Entry<PipeDataEntry>>>,
    fifos: BTreeMap<u32, Option<Entry<PipeDataEntry>>>,
    memory: BTreeMap<(u64, u64), memory::Object>,
    /// All UNIX sockets of the host, once one is asked for.
    unix: Option<BTreeMap<u32, unix::Told>>,
    /// Sockets whose peer is not known to be of the tree: peer, process, number.
    unix_peers: BTreeMap<u32, (u32, u32, u32)>,
    queues: Vec<Entry<SkPacketEntry>>,
    connections: tcp::Connections,
    /// Of all UDP sockets of the host, once one is asked for.
    datagram_shutdowns: Option<inet::Shutdowns>,
    /// Locks, each with the file that it is on.
    locks: Vec<(u32, FileLockEntry)>,
    segments: sysv::Segments,
    terminals: tty::Terminals,
    /// Files that were in flight: ours as long as others are compared with them.
    kept: Vec<OwnedFd>,
}

/// An open file, looked at.
pub(super) struct Open<'o> {
    pub(super) pid: u32,
    pub(super) fd: u32,
    /// What `/proc/PID/fd/N` leads to, as the kernel writes it.
    pub(super) link: &'o [u8],
    /// The same open file in our process.
    pub(super) file: OwnedFd,
    pub(super) info: Fdinfo<'o>,
    pub(super) stat: Stat,
}

impl Open<'_> {
    /// `O_*` flags that `open(2)` would be given again.
    pub(super) fn flags(&self) -> u32 {
        let not_kept =
            libc::O_CLOEXEC | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY;
        self.info.flags & !not_kept.unsigned_abs()
    }

    pub(super) fn owner(&self) -> Result<FownEntry, Error> {
        let owner = match file_owner::get(&self.file) {
            Err(rustix::io::Errno::BADF) => file_owner::Owner::default(), // O_PATH
            owner => owner.map_err(|errno| self.failed("ask for the owner of", errno))?,
        };
        Ok(FownEntry {
            uid: owner.users.0,
            euid: owner.users.1,
            signum: owner.signal.unsigned_abs(),
            pid_type: owner.kind.unsigned_abs(),
            pid: owner.id.unsigned_abs(),
        })
    }

    /// An error about this file.
    pub(super) fn failed(
        &self,
        operation: &'static str,
        source: impl Into<std::io::Error>,
    ) -> Error {
        Error::file(
            operation,
            format!("/proc/{}/fd/{}", self.pid, self.fd),
            source,
        )
    }
}

impl Files {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            only_look: false,
            last_id: 0,
            known: Vec::new(),
            entries: BTreeMap::new(),
            tables: BTreeMap::new(),
            mapped: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            remaps: Vec::new(),
            pipes: BTreeMap::new(),
            fifos: BTreeMap::new(),
            memory: BTreeMap::new(),
            unix: None,
            unix_peers: BTreeMap::new(),
            queues: Vec::new(),
            connections: tcp::Connections::default(),
            datagram_shutdowns: None,
            locks: Vec::new(),
            segments: sysv::Segments::new(),
            terminals: tty::Terminals::default(),
            kept: Vec::new(),
        }
    }

    fn new_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// The descriptors of a process, unless another that shares its table has been looked at.
    pub(super) fn table(&mut self, root: &Root, pid: u32, id: u32) -> Result<(), Error> {
        if self.tables.contains_key(&id) {
            return Ok(());
        }
        let (pidfd, numbers) = descriptors(root, pid)?;
        let mut table = Vec::with_capacity(numbers.len());
        for fd in numbers {
            table.push(self.descriptor(root, &pidfd, (pid, fd))?);
        }
        self.tables.insert(id, table);
        Ok(())
    }

    /// One descriptor of a process.
    fn descriptor(
        &mut self,
        root: &Root,
        pidfd: &OwnedFd,
        (pid, fd): (u32, u32),
    ) -> Result<FdinfoEntry, Error> {
        let text = root.read(format!("proc/{pid}/fdinfo/{fd}"))?;
        let info = Fdinfo::parse(&text).map_err(|_| Error::NoProcess(pid))?;
        let held = info.lines().filter_map(|line| locks::read(line, pid, fd));
        let held: Vec<FileLockEntry> = held.collect();
        let cloexec = info.flags & libc::O_CLOEXEC.unsigned_abs() != 0;
        let file_id = match self.find((pid, fd))? {
            Ok(id) => id,
            Err(_) => {
                let remote = i32::try_from(fd).unwrap_or(-1);
                let file = pidfd_getfd(pidfd, remote, PidfdGetfdFlags::empty());
                let path = format!("/proc/{pid}/fd/{fd}");
                let file = file.map_err(|errno| Error::file("duplicate", path, errno))?;
                self.learn((pid, fd), file, info)?
            }
        };
        self.keep_locks(file_id, pid, held)?;
        Ok(FdinfoEntry {
            id: file_id,
            flags: u32::from(cloexec), // FD_CLOEXEC
            r#type: self.entries.get(&file_id).map_or(0, |entry| entry.r#type),
            fd,
            ..FdinfoEntry::default()
        })
    }

    /// Locks that several descriptors show are taken along once.
    fn keep_locks(
        &mut self,
        file_id: u32,
        pid: u32,
        held: Vec<FileLockEntry>,
    ) -> Result<(), Error> {
        if !held.is_empty() && !self.options.file_locks {
            return Err(Error::refused(LOCKS.of(pid, &[])));
        }
        for lock in held {
            let same = |other: &FileLockEntry| {
                let range = (other.flag, other.r#type, other.start, other.len);
                range == (lock.flag, lock.r#type, lock.start, lock.len)
            };
            if !self
                .locks
                .iter()
                .any(|(id, other)| *id == file_id && same(other))
            {
                self.locks.push((file_id, lock));
            }
        }
        Ok(())
    }

    /// A new open file.
    fn learn(
        &mut self,
        (pid, fd): (u32, u32),
        file: OwnedFd,
        info: Fdinfo<'_>,
    ) -> Result<u32, Error> {
        let id = self.new_id();
        let path = format!("/proc/{pid}/fd/{fd}");
        let failed = |source| Error::file("look at", &path, source);
        let link = std::fs::read_link(&path).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        let link = link.as_os_str().as_bytes();
        // Known before it is described: a socket may hold itself.
        if let Err(place) = self.find((pid, fd))? {
            self.known.insert(place, ((pid, fd), id));
        }
        let open = Open {
            pid,
            fd,
            link,
            file,
            info,
            stat,
        };
        let entry = self.describe(&open, id)?;
        self.entries.insert(id, entry);
        Ok(id)
    }

    /// The id of a file that came to us in flight.
    fn of_our_own(&mut self, file: OwnedFd) -> Result<u32, Error> {
        let descriptor = (std::process::id(), unix::number(&file));
        if let Ok(id) = self.find(descriptor)? {
            return Ok(id);
        }
        let path = format!("/proc/self/fdinfo/{}", descriptor.1);
        let text = std::fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
        let info = Fdinfo::parse(&text).map_err(|_| Error::NoProcess(descriptor.0))?;
        let duplicate = file
            .try_clone()
            .map_err(|source| Error::file("duplicate", &path, source))?;
        self.kept.push(file);
        self.learn(descriptor, duplicate, info)
    }

    /// Whether a UNIX socket with this inode has been found in the tree.
    fn unix_is_ours(&self, ino: u32) -> bool {
        let mut sockets = self.entries.values().filter_map(|entry| entry.usk.as_ref());
        sockets.any(|socket| socket.ino == ino)
    }

    /// The id of an open file that is known, or where it belongs.
    fn find(&self, descriptor: (u32, u32)) -> Result<Result<u32, usize>, Error> {
        let mut failed = None;
        let place = self.known.binary_search_by(|(other, _)| {
            kcmp::files(*other, descriptor).unwrap_or_else(|errno| {
                failed = Some(errno);
                Ordering::Less
            })
        });
        if let Some(errno) = failed {
            let path = format!("/proc/{}/fd/{}", descriptor.0, descriptor.1);
            return Err(Error::file("compare", path, errno));
        }
        Ok(match place {
            Ok(place) => Ok(self.known.get(place).map_or(0, |(_, id)| *id)),
            Err(place) => Err(place),
        })
    }

    /// The entry of an open file: the first beginning of its link that fits tells its kind.
    fn describe(&mut self, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
        type Describe = fn(&mut Files, &Open<'_>, u32) -> Result<FileEntry, Error>;
        const KINDS: &[(&[u8], Describe)] = &[
            (b"pipe:[", pipe::pipe),
            (b"socket:[", socket),
            (b"/memfd:", memory::file),
            (b"/dev/zero (deleted)", memory::file),
            (b"anon_inode:[eventfd]", event::eventfd),
            (b"anon_inode:[timerfd]", event::timerfd),
            (b"anon_inode:[signalfd]", event::signalfd),
            (b"anon_inode:[eventpoll]", event::epoll),
            (b"anon_inode:inotify", notify::inotify),
            (b"anon_inode:[fanotify]", notify::group),
            (b"anon_inode:[pidfd]", event::pidfd),
            (b"pidfd:", event::pidfd),
            (b"/", regular::any),
        ];
        let kind = KINDS
            .iter()
            .find(|(beginning, _)| open.link.starts_with(beginning));
        match kind {
            Some((_, describe)) => describe(self, open, id),
            None if crate::namespace::of_link(open.link).is_some() => {
                namespace::file(self, open, id)
            }
            None => Err(unknown(open)),
        }
    }

    /// The terminal that controls a process.
    pub(super) fn controlling(&mut self, root: &Root, pid: u32) -> Result<(), Error> {
        self.terminals.note(root, pid)
    }

    /// Working directory, root and umask of a process.
    pub(super) fn fs(&mut self, root: &Root, pid: u32) -> Result<FsEntry, Error> {
        let status = root.read(format!("proc/{pid}/status"))?;
        let mask = field(&status, b"Umask").and_then(|text| std::str::from_utf8(text).ok());
        let directory = libc::O_RDONLY.unsigned_abs();
        Ok(FsEntry {
            cwd_id: self.by_path(&format!("/proc/{pid}/cwd"), directory)?,
            root_id: self.by_path(&format!("/proc/{pid}/root"), directory)?,
            umask: mask.and_then(|text| u32::from_str_radix(text, 8).ok()),
        })
    }

    /// The program of a process.
    pub(super) fn program(&mut self, _: &Root, pid: u32) -> Result<u32, Error> {
        self.by_path(&format!("/proc/{pid}/exe"), 0)
    }

    /// The file behind a mapping.
    pub(super) fn mapped(
        &mut self,
        pid: u32,
        mapping: &Mapping<'_>,
        flags: u32,
    ) -> Result<u32, Error> {
        self.by_path(&map_file(pid, mapping), flags)
    }

    /// The memory object behind a mapping.
    pub(super) fn mapped_memory(
        &mut self,
        pid: u32,
        mapping: &Mapping<'_>,
        flags: u32,
    ) -> Result<u32, Error> {
        memory::mapped(self, &map_file(pid, mapping), flags)
    }

    /// The packet socket whose ring a mapping is.
    pub(super) fn mapped_socket(
        &mut self,
        root: &Root,
        pid: u32,
        mapping: &Mapping<'_>,
    ) -> Result<u32, Error> {
        let (pidfd, numbers) = descriptors(root, pid)?;
        let is_it = |fd: &u32| {
            let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
            link.is_ok_and(|link| link.as_os_str().as_bytes() == mapping.raw_name)
        };
        if let Some(fd) = numbers.into_iter().find(is_it) {
            let id = self.descriptor(root, &pidfd, (pid, fd))?.id;
            if self.entries.get(&id).is_some_and(|it| it.psk.is_some()) {
                return Ok(id);
            }
        }
        let at = format!("{:#x}", mapping.start);
        Err(Error::refused(MAPPING.of(pid, &[&mapped::RING, &at])))
    }

    /// The System V segment behind a mapping.
    pub(super) fn mapped_segment(
        &mut self,
        pid: u32,
        mapping: &Mapping<'_>,
        vma: &VmaEntry,
    ) -> Result<u32, Error> {
        sysv::mapped(self, pid, mapping.inode, &map_file(pid, mapping), vma)
    }

    /// All System V segments of the namespace that the calling thread is in, also those that nobody has attached.
    pub(super) fn all_segments(&mut self, page_size: PageSize) -> Result<(), Error> {
        sysv::all(self, page_size)
    }

    /// A file that some link of `/proc` leads to, and that no descriptor has to be open for.
    fn by_path(&mut self, link: &str, flags: u32) -> Result<u32, Error> {
        let failed = |source| Error::file("look at", link, source);
        let target = std::fs::read_link(link).map_err(failed)?;
        let stat = rustix::fs::stat(link).map_err(|errno| failed(errno.into()))?;
        let name = target.as_os_str().as_bytes();
        let key = (stat.st_dev, stat.st_ino, flags, name.to_vec());
        if let Some(id) = self.mapped.get(&key) {
            return Ok(*id);
        }
        let id = self.new_id();
        let entry = regular::by_path(self, link, name, &stat, flags, id)?;
        self.entries.insert(id, entry);
        self.mapped.insert(key, id);
        Ok(id)
    }

    /// Objects whose contents only memory holds, by the number that their pages are stored under.
    pub(super) fn memory_files(&self) -> impl Iterator<Item = (u32, &File)> {
        let segments = self
            .segments
            .iter()
            .map(|(id, segment)| (*id, &segment.file));
        self.memory
            .values()
            .map(|object| (object.entry.shmid, &object.file))
            .chain(segments)
    }

    /// Hands everything over; connections are held until the tree has ended or runs on.
    pub(super) fn finish(mut self, snapshot: &mut Snapshot) -> Result<tcp::Connections, Error> {
        let mut outside = unix::outside(&mut self);
        outside.extend(self.connections.refused(self.options.tcp_established));
        if !outside.is_empty() {
            return Err(Error::Refused(outside));
        }
        snapshot.segments = sysv::finish(self.segments)?;
        (snapshot.ttys, snapshot.tty_data) = self.terminals.finish(self.options.shell_job)?;
        snapshot.queues = self.queues;
        snapshot.tcp = self.connections.take_streams();
        snapshot.locks = self.locks.into_iter().map(|(_, lock)| lock).collect();
        snapshot.files = self.entries;
        snapshot.tables = self.tables;
        snapshot.ghosts = self.ghosts.into_values().collect();
        snapshot.remaps = self.remaps;
        snapshot.pipes = self.pipes.into_values().flatten().collect();
        snapshot.fifos = self.fifos.into_values().flatten().collect();
        let inodes = self.memory.into_values().map(|object| object.entry);
        let mut inodes: Vec<MemfdInodeEntry> = inodes.collect();
        inodes.sort_by_key(|inode| inode.inode_id);
        snapshot.memfds = inodes;
        Ok(self.connections)
    }
}

/// A process, and the numbers of its descriptors.
fn descriptors(root: &Root, pid: u32) -> Result<(OwnedFd, Vec<u32>), Error> {
    let gone = || Error::NoProcess(pid);
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(raw.ok_or_else(gone)?, PidfdFlags::empty()).map_err(|_| gone())?;
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    let names = root.list(format!("proc/{pid}/fd"))?;
    let mut numbers: Vec<u32> = names.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok((pidfd, numbers))
}

/// A socket, by its family.
fn socket(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let family = plimsoll_sys::socket::number(&open.file, libc::SOL_SOCKET, libc::SO_DOMAIN);
    match family {
        Ok(libc::AF_UNIX) => unix::socket(files, open, id),
        Ok(libc::AF_INET | libc::AF_INET6) => inet::socket(files, open, id),
        Ok(libc::AF_PACKET) => packet::socket(files, open, id),
        Ok(libc::AF_NETLINK) => netlink::socket(files, open, id),
        _ => Err(unknown(open)),
    }
}

fn map_file(pid: u32, mapping: &Mapping<'_>) -> String {
    format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        mapping.start, mapping.end
    )
}

/// An entry of this kind, to be filled.
fn entry(kind: FdTypes, id: u32) -> FileEntry {
    FileEntry {
        r#type: kind.into(),
        id,
        ..FileEntry::default()
    }
}

fn unknown(open: &Open<'_>) -> Error {
    let link = plimsoll_proc::text::printable(open.link);
    let what = other(open.link).unwrap_or(&link);
    Error::refused(OTHER_FILE.of(open.pid, &[&open.fd, &what]))
}

/// A word for a link that leads to what is known not to be covered.
pub(super) fn other(link: &[u8]) -> Option<&'static str> {
    let begins = |(beginning, _): &&(&[u8], _)| link.starts_with(beginning);
    OTHER_FILES.iter().find(begins).map(|(_, word)| *word)
}
