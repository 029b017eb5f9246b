//! UNIX sockets: their names, peers and options from `sock_diag(7)`, what waits in them by peeking, open files in flight
//! included.

use super::{Files, Open, entry, peek};
use crate::coverage::{UNIX_IN_BETWEEN, UNIX_OUTSIDE};
use crate::error::Error;
use crate::obstacle::Obstacle;
use crate::socket_options;
use plimsoll_image::Entry;
use plimsoll_image::proto::{
    FdTypes, FileEntry, FilePermsEntry, ScmEntry, SkPacketEntry, SkShutdown, UnixSkEntry,
};
use plimsoll_proc::found::sockets::netlink::{SockDiag, attributes, u32_at};
use plimsoll_sys::socket;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

/// States of sockets, as TCP's.
const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;
const DATAGRAM: u32 = libc::SOCK_DGRAM.unsigned_abs();
/// `uflags` of a socket that is somebody else's.
const EXTERNAL: u32 = 1;

/// A UNIX socket as the kernel tells of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    kind: u32,
    state: u32,
    name: Vec<u8>,
    /// The inode of its name's file.
    file: Option<u32>,
    peer: u32,
    icons: Vec<u32>,
    receives: u32,
    sends: u32,
    shutdown: u32,
}

/// All UNIX sockets of our network namespace, by inode.
pub(super) fn ask() -> Result<BTreeMap<u32, Told>, Errno> {
    const AF_UNIX: u8 = 1;
    /// `UDIAG_SHOW_NAME | VFS | PEER | ICONS | RQLEN`
    const SHOW: u32 = 1 | 2 | 4 | 8 | 16;
    let mut request = vec![AF_UNIX, 0, 0, 0];
    for word in [u32::MAX, 0, SHOW, 0, 0] {
        request.extend(word.to_ne_bytes());
    }
    let mut all = BTreeMap::new();
    SockDiag::open()?.dump(&request, |answer| {
        if let Some((inode, told)) = read(answer) {
            all.insert(inode, told);
        }
    })?;
    Ok(all)
}

/// `struct unix_diag_msg`: family, type, state, padding, inode, cookie; then attributes.
fn read(answer: &[u8]) -> Option<(u32, Told)> {
    let (&[_, kind, state, _], rest) = answer.split_first_chunk::<4>()?;
    let inode = u32_at(rest, 0)?;
    let mut told = Told {
        kind: kind.into(),
        state: state.into(),
        ..Told::default()
    };
    for (attribute, value) in attributes(answer.get(16..)?) {
        match attribute {
            0 => told.name = value.to_vec(),
            1 => told.file = u32_at(value, 0),
            2 => told.peer = u32_at(value, 0)?,
            3 => {
                told.icons = value
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|word| u32::from_ne_bytes(*word))
                    .collect()
            }
            4 => (told.receives, told.sends) = (u32_at(value, 0)?, u32_at(value, 4)?),
            6 => told.shutdown = value.first().copied()?.into(),
            _ => {}
        }
    }
    Some((inode, told))
}

/// An open UNIX socket.
pub(super) fn socket(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let failed = |errno: Errno| open.failed("look into the socket", errno);
    let ino = u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0);
    if files.unix.is_none() {
        files.unix = Some(ask().map_err(failed)?);
    }
    let all = files
        .unix
        .as_ref()
        .into_iter()
        .flatten()
        .collect::<BTreeMap<_, _>>();
    let told = all.get(&ino).ok_or_else(|| failed(Errno::NOENT))?;
    let mut told = Told::clone(told);
    let refuse = |what: &str| {
        Err(Error::refused(
            UNIX_IN_BETWEEN.of(open.pid, &[&open.fd, &what]),
        ))
    };
    if told.state == LISTEN && told.icons.contains(&0) {
        return refuse("with a waiting connection that is closed again already");
    }
    let stream = told.kind != DATAGRAM;
    if told.peer == 0 && told.state == ESTABLISHED && stream {
        let waiting_at = all
            .iter()
            .find(|(_, other)| other.icons.contains(&ino))
            .map(|(ino, _)| **ino);
        match waiting_at {
            Some(_) if told.sends > 0 => {
                return refuse("that has sent something to one who has not accepted it yet");
            }
            Some(listener) => told.peer = listener,
            None => {}
        }
    }
    if told.peer != 0 && !files.unix_is_ours(told.peer) {
        files.unix_peers.insert(ino, (told.peer, open.pid, open.fd));
    }
    if told.receives > 0 && told.state != LISTEN && !files.only_look {
        peek::from_the_first(open, || queue(files, open, id))?;
    }
    let (name, name_dir, deleted, file_perms) = name(open, &told);
    Ok(FileEntry {
        usk: Some(UnixSkEntry {
            id,
            ino,
            r#type: told.kind,
            state: told.state,
            flags: open.flags(),
            uflags: 0,
            backlog: told.sends,
            peer: told.peer,
            fown: open.owner()?,
            opts: socket_options::read(open.file.as_fd()).map_err(failed)?,
            name,
            name_dir,
            shutdown: (told.shutdown != 0).then(|| shutdown(told.shutdown).into()),
            file_perms,
            deleted,
            ns_id: Some(2),
            mnt_id: None,
        }),
        ..entry(FdTypes::Unixsk, id)
    })
}

fn shutdown(bits: u32) -> SkShutdown {
    match bits {
        1 => SkShutdown::Read,
        2 => SkShutdown::Write,
        _ => SkShutdown::Both,
    }
}

type Name = (
    Vec<u8>,
    Option<Vec<u8>>,
    Option<bool>,
    Option<FilePermsEntry>,
);

/// Its name; for one in the file system, where that is relative to, whether it is gone, and whose the file is.
fn name(open: &Open<'_>, told: &Told) -> Name {
    let plain = (told.name.clone(), None, None, None);
    if told.name.first().is_none_or(|byte| *byte == 0) {
        return plain;
    }
    let text: Vec<u8> = told
        .name
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    let path = std::path::Path::new(OsStr::from_bytes(&text));
    let directory = (!path.is_absolute())
        .then(|| std::fs::read_link(format!("/proc/{}/cwd", open.pid)).ok())
        .flatten();
    let whole = directory
        .as_ref()
        .map_or_else(|| path.to_owned(), |directory| directory.join(path));
    // Another file may have the name by now.
    let is_its = |stat: &rustix::fs::Stat| {
        let lower = stat.st_ino & u64::from(u32::MAX);
        told.file.is_none_or(|file| u64::from(file) == lower)
    };
    let stat = rustix::fs::lstat(&whole).ok().filter(is_its);
    let perms = stat.map(|stat| FilePermsEntry {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
    });
    let deleted = perms.is_none().then_some(true);
    let directory = directory.map(|directory| directory.as_os_str().as_bytes().to_vec());
    (told.name.clone(), directory, deleted, perms)
}

/// Everything that waits in a socket, left where it is.
fn queue(files: &mut Files, open: &Open<'_>, id: u32) -> Result<(), Error> {
    let failed = |errno: Errno| open.failed("read what waits in", errno);
    let room = socket::number(&open.file, libc::SOL_SOCKET, libc::SO_SNDBUF).unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(room).unwrap_or(0).max(256 << 10)];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = match recvmsg(
            &open.file,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        ) {
            Err(Errno::AGAIN) => return Ok(()),
            message => message.map_err(failed)?,
        };
        let mut rights = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(in_flight) = part {
                rights.extend(in_flight);
            }
        }
        if message.flags.contains(ReturnFlags::TRUNC) {
            return Err(failed(Errno::TOOBIG));
        }
        let ended = message.bytes == 0 && rights.is_empty();
        if ended
            && socket::number(&open.file, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
        {
            return Ok(());
        }
        let scm = in_flight(files, rights)?;
        let length = u32::try_from(message.bytes).unwrap_or(0);
        let packet = SkPacketEntry {
            id_for: id,
            length,
            scm,
        };
        let payload = bytes.get(..message.bytes).unwrap_or_default().to_vec();
        files.queues.push(Entry::with_payload(packet, payload));
        if ended {
            return Ok(()); // an empty datagram and the end look alike
        }
    }
}

/// Open files in flight are files of the tree like others.
fn in_flight(files: &mut Files, rights: Vec<OwnedFd>) -> Result<Vec<ScmEntry>, Error> {
    const SCM_RIGHTS: u32 = 1;
    if rights.is_empty() {
        return Ok(Vec::new());
    }
    let mut ids = Vec::new();
    for file in rights {
        ids.push(files.of_our_own(file)?);
    }
    Ok(vec![ScmEntry {
        r#type: SCM_RIGHTS,
        rights: ids,
    }])
}

/// Sockets connected with one outside of the tree. A datagram socket can be connected anew by the name of its peer, where the
/// caller allows it: such a peer is an entry of its own, which nobody has a descriptor of.
pub(super) fn outside(files: &mut Files) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for (peer, pid, fd) in std::mem::take(&mut files.unix_peers).into_values() {
        if files.unix_is_ours(peer) {
            continue;
        }
        let told = files.unix.as_ref().and_then(|all| all.get(&peer));
        let named = told.filter(|told| told.kind == DATAGRAM && !told.name.is_empty());
        if let Some(name) = named.map(|told| told.name.clone())
            && files.options.external_unix
        {
            let id = files.new_id();
            files.entries.insert(id, external(id, peer, name));
            continue;
        }
        obstacles.push(UNIX_OUTSIDE.of(pid, &[&fd]));
    }
    obstacles
}

fn external(id: u32, ino: u32, name: Vec<u8>) -> FileEntry {
    FileEntry {
        usk: Some(UnixSkEntry {
            id,
            ino,
            r#type: DATAGRAM,
            state: LISTEN,
            uflags: EXTERNAL,
            name,
            ..UnixSkEntry::default()
        }),
        ..entry(FdTypes::Unixsk, id)
    }
}

/// The number of one of our own descriptors.
pub(super) fn number(file: &OwnedFd) -> u32 {
    file.as_raw_fd().unsigned_abs()
}
