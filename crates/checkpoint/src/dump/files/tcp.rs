//! TCP connections: sequence numbers, queues and what both ends agreed on, told by the socket in repair. No packet passes
//! meanwhile, so what is told fits together, also where both ends are in the tree.

use super::{Files, Open};
use crate::coverage::{TCP_IN_BETWEEN, TCP_OUTSIDE, TCP_UNLOCKED};
use crate::error::Error;
use crate::obstacle::Obstacle;
use crate::tcp::lock::{self, Lock, plain};
use crate::tcp::repair::{self, Info, Queue, Repair};
use crate::tcp::state::{CLOSE, Ends};
use plimsoll_image::Entry;
use plimsoll_image::proto::TcpStreamEntry;
use plimsoll_sys::socket::{number, option, set_number, unacknowledged, unread, unsent};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// All connections of a tree.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    found: Vec<Connection>,
    streams: BTreeMap<u32, Entry<TcpStreamEntry>>,
    /// As long as the tree stands.
    lock: Option<Lock>,
    /// Why there is no lock.
    unlocked: Option<Errno>,
}

#[derive(Debug)]
struct Connection {
    pid: u32,
    fd: u32,
    own: SocketAddr,
    peer: SocketAddr,
    /// Ours, so that the socket outlives the tree.
    socket: OwnedFd,
}

/// A socket that is connected, or was.
pub(super) fn connection(
    files: &mut Files,
    open: &Open<'_>,
    ino: u32,
    info: Info,
    (own, peer): (SocketAddr, SocketAddr),
) -> Result<(), Error> {
    let failed = |errno: Errno| open.failed("look into the connection", errno);
    if files.options.tcp_close {
        return Ok(());
    }
    let refuse = |how: &str| {
        Err(Error::refused(
            TCP_IN_BETWEEN.of(open.pid, &[&open.fd, &how]),
        ))
    };
    if Ends::of(info.state).is_none() {
        return refuse("that is about to be connected");
    }
    if option(&open.file, libc::IPPROTO_TCP, libc::TCP_ULP, 16).is_ok_and(|name| !name.is_empty()) {
        return refuse("with a protocol of the kernel above it, such as TLS");
    }
    let connections = &mut files.connections;
    let socket = open.file.try_clone();
    connections.found.push(Connection {
        pid: open.pid,
        fd: open.fd,
        own,
        peer,
        socket: socket.map_err(|source| open.failed("duplicate", source))?,
    });
    if files.only_look {
        return Ok(());
    }
    if info.state != CLOSE {
        connections.hold(own, peer, files.options.skip_network_lock);
    }
    let stream = stream(&open.file, info).map_err(failed)?;
    connections.streams.insert(ino, stream);
    Ok(())
}

impl Connections {
    /// Lets no packet of a connection pass. Where that can't be, [`refused`](Self::refused) says for whom it matters.
    fn hold(&mut self, own: SocketAddr, peer: SocketAddr, skip: bool) {
        if skip {
            return;
        }
        let held = match &mut self.lock {
            Some(lock) => lock.add(own, peer),
            None => Lock::begin().and_then(|lock| self.lock.insert(lock).add(own, peer)),
        };
        if let Err(errno) = held {
            self.unlocked = Some(errno);
        }
    }

    /// Those with a peer outside of the tree that may not, or can't, be taken along.
    pub(super) fn refused(&self, allowed: bool) -> Vec<Obstacle> {
        let refuse = |connection: &Connection| {
            let Connection { pid, fd, .. } = connection;
            match self.unlocked {
                _ if !allowed => Some(TCP_OUTSIDE.of(*pid, &[fd])),
                Some(errno) => Some(TCP_UNLOCKED.of(*pid, &[fd, &errno])),
                None => None,
            }
        };
        self.outside().filter_map(refuse).collect()
    }

    /// Connections of which only one end is in the tree.
    fn outside(&self) -> impl Iterator<Item = &Connection> {
        let ends = |one: &Connection| (plain(one.own), plain(one.peer));
        self.found.iter().filter(move |one| {
            let (own, peer) = ends(one);
            !self.found.iter().any(|other| ends(other) == (peer, own))
        })
    }

    /// Hands over what the images are to hold.
    pub(super) fn take_streams(&mut self) -> BTreeMap<u32, Entry<TcpStreamEntry>> {
        std::mem::take(&mut self.streams)
    }

    /// The tree has ended: its connections go without a packet, and peers outside hear nothing until the restore. `run` names
    /// the lock.
    pub(crate) fn conclude(self, run: &str) -> Result<(), Error> {
        let left: Vec<_> = self.outside().map(|one| (one.own, one.peer)).collect();
        let locked = match self.lock {
            Some(_) if !left.is_empty() => lock::leave(run, &left),
            _ => Ok(()),
        };
        for connection in &self.found {
            // One that has been reset meanwhile needs none.
            let _ = repair::turn_on(connection.socket.as_fd());
        }
        drop(self.found);
        let whose = "the tree (it has ended, and its images are complete)";
        locked.map_err(|errno| Error::file("lock the connections of", whose, errno))
    }
}

/// All that a socket tells.
fn stream(socket: &OwnedFd, info: Info) -> Result<Entry<TcpStreamEntry>, Errno> {
    let _repair = Repair::begin(socket)?;
    let socket = socket.as_fd();
    let ends = Ends::of(info.state).unwrap_or_default();
    let end = u32::from(ends.ours.is_some()); // counts as a byte
    let (unacknowledged, unsent) = if ends == Ends::of(CLOSE).unwrap_or_default() {
        (0, 0) // nobody will ever want what was not received
    } else {
        (unacknowledged(socket)?, unsent(socket)?)
    };
    let inq_len = unread(socket)?;
    let outq_len = unacknowledged.saturating_sub(end);
    let (inq_seq, received) = queue(socket, Queue::Receive, inq_len)?;
    let (outq_seq, sent) = queue(socket, Queue::Send, outq_len)?;
    let window = repair::window(socket)?;
    let has = |option| info.options & option != 0;
    let scaled = has(Info::WINDOW_SCALE);
    let stamped = has(Info::TIMESTAMPS);
    let timestamp = || number(socket, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP);
    let mss = number(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG)?;
    let stream = TcpStreamEntry {
        inq_len,
        inq_seq,
        outq_len,
        outq_seq,
        unsq_len: Some(unsent.saturating_sub(end).min(outq_len)),
        opt_mask: info.options,
        snd_wscale: if scaled { info.send_scale } else { 0 },
        rcv_wscale: scaled.then_some(info.receive_scale),
        mss_clamp: mss.cast_unsigned(),
        timestamp: match stamped {
            true => Some(timestamp()?.cast_unsigned()),
            false => None,
        },
        snd_wl1: Some(window.snd_wl1),
        snd_wnd: Some(window.snd_wnd),
        max_window: Some(window.max_window),
        rcv_wnd: Some(window.rcv_wnd),
        rcv_wup: Some(window.rcv_wup),
        cork: None,
        nodelay: None,
    };
    Ok(Entry::with_payload(stream, [received, sent].concat()))
}

/// The sequence number behind a queue, and what waits in it, left where it is.
fn queue(socket: BorrowedFd<'_>, queue: Queue, length: u32) -> Result<(u32, Vec<u8>), Errno> {
    repair::select(socket, queue)?;
    let sequence = repair::sequence(socket)?;
    let waits = peek(socket, length);
    repair::select(socket, Queue::None)?;
    Ok((sequence, waits?))
}

fn peek(socket: BorrowedFd<'_>, length: u32) -> Result<Vec<u8>, Errno> {
    if length == 0 {
        return Ok(Vec::new());
    }
    // Peeking begins where the program left off, if it asked for that (6.9 has it for TCP).
    let offset = number(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap_or(-1);
    let set_offset = |value| match offset {
        ..0 => Ok(()),
        _ => set_number(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value),
    };
    set_offset(0)?;
    let length = length as usize;
    let mut bytes = vec![0; length + 1]; // one more than there should be
    let peeked = recv(socket, &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    set_offset(offset)?;
    match peeked? {
        (got, _) if got == length => {
            bytes.truncate(length);
            Ok(bytes)
        }
        _ => Err(Errno::AGAIN),
    }
}
