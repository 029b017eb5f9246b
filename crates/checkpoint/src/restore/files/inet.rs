//! IP sockets: made, bound, listening, connected, with their options; what must not be set before all are there, last.

use super::{Files, raw, settle, shut, tcp};
use crate::error::Error;
use crate::inet_address::{own_of, peer_of};
use crate::ip_options::{self, Kind};
use crate::ip_packet::Datagram;
use crate::socket_options;
use crate::tcp::lock::plain;
use crate::tcp::state::LISTEN;
use crate::tcp::time_wait;
use plimsoll_image::proto::{FileEntry, InetSkEntry};
use plimsoll_sys::socket::set_number;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, Shutdown, SocketFlags, SocketType, bind, connect, listen, netdevice,
    shutdown, socket_with,
};
use std::net::{SocketAddr, SocketAddrV6};

/// An open IP socket.
pub(super) fn socket(files: &Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no IP socket", entry.id));
    let this = entry.isk.as_ref().ok_or_else(inconsistent)?;
    let own = own_of(this).ok_or_else(inconsistent)?;
    let failed = |errno: Errno| {
        let name = format!("IP socket {} at {own}", this.ino);
        Error::file("make", name, errno)
    };
    let made = bare(this, shares_port(files, this)).map_err(failed)?;
    match peer_of(this) {
        Some(_) if is_tcp(this) && files.close_connections => {
            shut(&made, Shutdown::Both).map_err(failed)?;
        }
        Some(peer) if is_tcp(this) => {
            let stream = files.snapshot.tcp.get(&this.ino);
            let stream = stream.ok_or_else(|| {
                Error::inconsistent(format!("the stream of socket {} is missing", this.ino))
            })?;
            tcp::connect(&made, this.state, (own, peer), stream).map_err(failed)?;
        }
        peer => name(&made, this, own, peer).map_err(failed)?,
    }
    settle(&made, this.flags, &this.fown)?;
    Ok(made)
}

/// A TCP socket; a raw one may have TCP's number, too.
fn is_tcp(this: &InetSkEntry) -> bool {
    let kind = kind(this);
    (kind.kind, kind.protocol) == (libc::SOCK_STREAM, libc::IPPROTO_TCP)
}

/// Whether a socket is restored as a connection.
pub(super) fn is_connection(this: &InetSkEntry) -> bool {
    is_tcp(this) && peer_of(this).is_some()
}

fn kind(this: &InetSkEntry) -> Kind {
    Kind {
        family: this.family.cast_signed(),
        kind: this.r#type.cast_signed(),
        protocol: this.proto.cast_signed(),
    }
}

/// Whether another socket on its port had `SO_REUSEPORT`. It takes both to share one; this one may have lost it since.
fn shares_port(files: &Files<'_>, this: &InetSkEntry) -> bool {
    let sockets = files.snapshot.files.values();
    let mut others = sockets.filter_map(|entry| entry.isk.as_ref());
    others.any(|other| other.src_port == this.src_port && other.opts.so_reuseport == Some(true))
}

/// A socket that shares its address with whoever had it too: its own options come when all are there.
fn bare(this: &InetSkEntry, shares_port: bool) -> Result<OwnedFd, Errno> {
    let family = u16::try_from(this.family).map_err(|_| Errno::AFNOSUPPORT)?;
    let family = AddressFamily::from_raw(family);
    let protocol = std::num::NonZeroU32::new(this.proto).map(Protocol::from_raw);
    let kind = SocketType::from_raw(this.r#type);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    if let Some(only) = this.v6only {
        let only = i32::from(only);
        match set_number(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only) {
            Err(Errno::INVAL | Errno::NOPROTOOPT) => {} // a raw one with a name by its protocol
            set => set?,
        }
    }
    set_number(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if shares_port {
        set_number(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    Ok(socket)
}

/// Name, peer and what is shut, for all but connections.
fn name(
    socket: &OwnedFd,
    this: &InetSkEntry,
    own: SocketAddr,
    peer: Option<SocketAddr>,
) -> Result<(), Errno> {
    let at_device = |address| scoped(socket.as_fd(), this, address);
    if own.port() != 0 {
        let own = at_device(own)?;
        at_free_port(this, own, || bind_anyhow(socket, this, own))?;
    }
    if this.state == LISTEN {
        at_free_port(this, own, || listen(socket, this.backlog.cast_signed()))?;
    }
    if let Some(peer) = peer {
        connect(socket, &at_device(peer)?)?;
    }
    match shut::ways(this.shutdown) {
        Some(how) => shut(socket, how),
        None => Ok(()),
    }
}

/// Takes a port, also where only what is left of connections has it that its owner had closed.
fn at_free_port(
    this: &InetSkEntry,
    own: SocketAddr,
    take: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match take() {
        Err(Errno::ADDRINUSE) if is_tcp(this) => {
            let _ = time_wait::end_all(own.port()); // or somebody else has it, as is told next
            take()
        }
        taken => taken,
    }
}

/// One that is not connected remembers it all the same.
fn shut(socket: &OwnedFd, how: Shutdown) -> Result<(), Errno> {
    match shutdown(socket, how) {
        Err(Errno::NOTCONN) => Ok(()),
        shut => shut,
    }
}

/// A name that this host has not, or not yet, is had all the same: it was allowed once.
fn bind_anyhow(socket: &OwnedFd, this: &InetSkEntry, own: SocketAddr) -> Result<(), Errno> {
    let bound = bind(socket, &own);
    if bound != Err(Errno::ADDRNOTAVAIL) {
        return bound;
    }
    let (level, name) = if kind(this).family == libc::AF_INET6 {
        (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
    } else {
        (libc::IPPROTO_IP, libc::IP_FREEBIND)
    };
    set_number(socket, level, name, 1)?;
    bind(socket, &own)?;
    set_number(socket, level, name, 0)
}

/// A link-local address means something on a device only.
fn scoped(
    socket: BorrowedFd<'_>,
    this: &InetSkEntry,
    address: SocketAddr,
) -> Result<SocketAddr, Errno> {
    let (SocketAddr::V6(v6), Some(device)) = (address, &this.ifname) else {
        return Ok(address);
    };
    let device = std::str::from_utf8(device).map_err(|_| Errno::NODEV)?;
    let scope = netdevice::name_to_index(socket, device)?;
    Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into())
}

/// When all are there: ends that were closed, and options.
pub(super) fn finish(files: &mut Files<'_>) -> Result<(), Error> {
    let snapshot = files.snapshot;
    let close = files.close_connections;
    for (entry, made) in sockets(files) {
        let Some(this) = &entry.isk else { continue };
        let failed = |errno: Errno| Error::file("finish", format!("IP socket {}", this.ino), errno);
        if let Some(stream) = snapshot.tcp.get(&this.ino)
            && is_connection(this)
            && !close
        {
            tcp::complete(made, this, stream).map_err(failed)?;
            settle(made, this.flags, &this.fown)?;
        }
        furnish(made.as_fd(), this).map_err(failed)?;
    }
    // Not before all have their peers and options: who is meant is told by them.
    sockets(files).try_for_each(|(entry, made)| fill(files, entry, made.as_fd()))
}

/// What waited in a UDP socket comes again.
fn fill(files: &Files<'_>, entry: &FileEntry, socket: BorrowedFd<'_>) -> Result<(), Error> {
    let queues = files.snapshot.queues.iter();
    for packet in queues.filter(|packet| packet.id_for == entry.id) {
        let inconsistent = || {
            let id = entry.id;
            Error::inconsistent(format!("what waits in socket {id} was not sent to it"))
        };
        let this = entry.isk.as_ref().ok_or_else(inconsistent)?;
        let own = own_of(this).map(plain).ok_or_else(inconsistent)?;
        let datagram = Datagram::of_packet(&packet.payload)
            .filter(|datagram| datagram.to.port() == own.port())
            .filter(|datagram| own.ip().is_unspecified() || own.ip() == datagram.to.ip());
        let to = datagram.ok_or_else(inconsistent)?.to;
        // One that can't come is lost, as on a network.
        let _ = scoped(socket, this, to).and_then(|to| raw::send(&packet.payload, to));
    }
    Ok(())
}

/// All IP sockets that have been made.
pub(super) fn sockets<'f>(
    files: &'f Files<'_>,
) -> impl Iterator<Item = (&'f FileEntry, &'f OwnedFd)> {
    let entries = files.snapshot.files.values();
    entries
        .filter(|entry| entry.isk.is_some())
        .filter_map(|entry| Some((entry, files.made.get(&entry.id)?)))
}

fn furnish(socket: BorrowedFd<'_>, this: &InetSkEntry) -> Result<(), Errno> {
    if let Some(options) = &this.ip_opts {
        ip_options::write(socket, kind(this), options)?;
    }
    socket_options::write(socket, &this.opts)?;
    match &this.tcp_opts {
        Some(options) if is_tcp(this) => ip_options::write_tcp(socket, options),
        _ => Ok(()),
    }
}
