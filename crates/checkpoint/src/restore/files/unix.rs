//! UNIX sockets: pairs made as pairs, names bound, listeners listening; what waited is sent again by the other end.
//!
//! Two that know each other come from one `socketpair(2)`. One that knows another which does not know it (a datagram socket, or
//! a connection not accepted yet) connects by the other's name. One whose peer is gone is half of a pair whose other half
//! is closed, after it has sent what waited.

use super::{Files, settle, shut, unix_name};
use crate::error::Error;
use crate::socket_options;
use plimsoll_image::Entry;
use plimsoll_image::proto::{FileEntry, SkPacketEntry, UnixSkEntry};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    listen, sendmsg, shutdown, socket_with, socketpair,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;

const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;
const DATAGRAM: u32 = libc::SOCK_DGRAM.unsigned_abs();

/// An open UNIX socket.
pub(super) fn socket(files: &mut Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no UNIX socket", entry.id));
    let this = entry.usk.as_ref().ok_or_else(inconsistent)?;
    if let Some(made) = files.sockets.remove(&entry.id) {
        return Ok(made); // the other half of a pair
    }
    let failed = |errno: Errno| Error::file("make", format!("UNIX socket {}", this.ino), errno);
    let kind = SocketType::from_raw(this.r#type);
    let pair = || socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed);
    let peer = files.snapshot.files.values().find_map(|other| {
        let other = other.usk.as_ref()?;
        (this.peer != 0 && other.ino == this.peer).then_some(other)
    });
    let made = match peer {
        Some(other) if other.ino == this.ino => {
            // A datagram socket connected with itself.
            let alone = alone(kind).map_err(failed)?;
            furnish(files, &alone, this)?;
            join(files, alone.as_fd(), this).map_err(failed)?;
            alone
        }
        Some(other) if other.peer == this.ino => {
            let (one, two) = pair()?;
            furnish(files, &one, this)?;
            furnish(files, &two, other)?;
            fill(files, other.id, one.as_fd())?;
            fill(files, this.id, two.as_fd())?;
            for (end, entry) in [(&one, this), (&two, other)] {
                close_ways(end, entry).map_err(failed)?;
            }
            settle(&two, other.flags, &other.fown)?;
            files.sockets.insert(other.id, two);
            one
        }
        Some(_) => {
            let alone = alone(kind).map_err(failed)?;
            furnish(files, &alone, this)?;
            files.connect_later.push((entry.id, this.peer));
            alone
        }
        // What waited in a socket without a name came from the other half of a pair.
        None if this.state == ESTABLISHED && (this.r#type != DATAGRAM || this.name.is_empty()) => {
            let (one, two) = pair()?;
            furnish(files, &one, this)?;
            fill(files, this.id, two.as_fd())?;
            one
        }
        None => {
            let alone = alone(kind).map_err(failed)?;
            furnish(files, &alone, this)?;
            if this.state == LISTEN {
                listen(&alone, this.backlog.cast_signed()).map_err(failed)?;
            }
            alone
        }
    };
    settle(&made, this.flags, &this.fown)?;
    Ok(made)
}

fn alone(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// Options and name.
fn furnish(files: &mut Files<'_>, socket: &OwnedFd, entry: &UnixSkEntry) -> Result<(), Error> {
    let failed = |errno: Errno| Error::file("furnish", format!("UNIX socket {}", entry.ino), errno);
    socket_options::write(socket.as_fd(), &entry.opts).map_err(failed)?;
    // An accepted socket has the name of its listener, whose file it is. A datagram socket is established as soon as somebody
    // has connected with it.
    let accepted = entry.state == ESTABLISHED && entry.r#type != DATAGRAM;
    let gone = accepted || entry.deleted == Some(true);
    if let Some(file) = unix_name::name(socket, entry, gone)? {
        files.socket_files.insert(entry.ino, file);
    }
    Ok(())
}

/// Connects a socket with one that has a name.
fn join(files: &Files<'_>, socket: BorrowedFd<'_>, named: &UnixSkEntry) -> Result<(), Errno> {
    unix_name::connect_with(socket, named, files.socket_files.get(&named.ino))
}

/// Sends what waited in a socket, from its other end.
fn fill(files: &mut Files<'_>, id: u32, from: BorrowedFd<'_>) -> Result<(), Error> {
    let snapshot = files.snapshot;
    for packet in snapshot.queues.iter().filter(|packet| packet.id_for == id) {
        send(files, packet, from)?;
    }
    Ok(())
}

fn send(
    files: &mut Files<'_>,
    packet: &Entry<SkPacketEntry>,
    from: BorrowedFd<'_>,
) -> Result<(), Error> {
    let failed = |errno: Errno| {
        Error::file(
            "send what waited in",
            format!("socket {}", packet.id_for),
            errno,
        )
    };
    let rights: Vec<u32> = packet
        .scm
        .iter()
        .flat_map(|scm| scm.rights.iter().copied())
        .collect();
    for id in &rights {
        files.get(*id)?;
    }
    let rights: Vec<BorrowedFd<'_>> = rights
        .iter()
        .filter_map(|id| files.made.get(id))
        .map(AsFd::as_fd)
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&rights)) {
        return Err(failed(Errno::NOBUFS));
    }
    let bytes = [IoSlice::new(&packet.payload)];
    let sent = sendmsg(
        from,
        &bytes,
        &mut control,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
    .map_err(failed)?;
    if sent == packet.payload.len() {
        Ok(())
    } else {
        Err(failed(Errno::NOBUFS))
    }
}

fn close_ways(end: &OwnedFd, entry: &UnixSkEntry) -> Result<(), Errno> {
    match shut::ways(entry.shutdown) {
        Some(how) => shutdown(end, how),
        None => Ok(()),
    }
}

/// When all are there: those that know one by name connect, and what waited in one that nobody is tied to is sent.
pub(super) fn finish(files: &mut Files<'_>) -> Result<(), Error> {
    let snapshot = files.snapshot;
    let later = std::mem::take(&mut files.connect_later);
    for (id, peer) in later {
        let named = snapshot
            .files
            .values()
            .find_map(|entry| entry.usk.as_ref().filter(|socket| socket.ino == peer));
        let (Some(named), Some(this)) = (named, files.made.get(&id)) else {
            return Err(Error::inconsistent(format!(
                "socket {id} has lost its peer {peer}"
            )));
        };
        let failed = |errno: Errno| Error::file("connect", format!("socket {id}"), errno);
        join(files, this.as_fd(), named).map_err(failed)?;
    }
    let lonely = snapshot
        .files
        .values()
        .filter_map(|entry| entry.usk.as_ref());
    for socket in lonely.filter(|socket| socket.r#type == DATAGRAM && !socket.name.is_empty()) {
        let mutual = snapshot
            .files
            .values()
            .filter_map(|entry| entry.usk.as_ref());
        let mut mutual = mutual.filter(|other| {
            other.ino == socket.peer && other.peer == socket.ino && other.ino != socket.ino
        });
        let waits = snapshot
            .queues
            .iter()
            .any(|packet| packet.id_for == socket.id);
        if mutual.next().is_some() || !waits {
            continue;
        }
        let failed = |errno: Errno| Error::file("send to", format!("socket {}", socket.id), errno);
        let sender = alone(SocketType::DGRAM).map_err(failed)?;
        join(files, sender.as_fd(), socket).map_err(failed)?;
        fill(files, socket.id, sender.as_fd())?;
    }
    Ok(())
}
