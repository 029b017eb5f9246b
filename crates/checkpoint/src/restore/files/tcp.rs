//! TCP connections: a socket in repair is bound and connected without a packet, takes its queues and windows, and stays in
//! repair until the tree is complete. Nobody is asked, and nobody hears of it.

use super::{Files, inet, raw};
use crate::error::Error;
use crate::inet_address::{own_of, peer_of};
use crate::tcp::lock::{self, Lock, plain};
use crate::tcp::repair::{self, Agreed, Info, Queue, Window};
use crate::tcp::segment::{ACK, FIN, Segment};
use crate::tcp::state::{Ends, SYN_SENT};
use plimsoll_image::Entry;
use plimsoll_image::proto::{InetSkEntry, TcpStreamEntry};
use plimsoll_sys::socket::set_number;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, bind, send, shutdown};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

type Stream = Entry<TcpStreamEntry>;

/// Sequence numbers without the ends of both streams, which count as a byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    /// Behind the last byte received, and behind the last byte to be sent.
    received: u32,
    given: u32,
}

impl Numbers {
    fn of(ends: Ends, stream: &TcpStreamEntry) -> Self {
        Self {
            received: stream.inq_seq.wrapping_sub(ends.theirs.into()),
            given: stream.outq_seq.wrapping_sub(ends.ours.is_some().into()),
        }
    }
}

/// Connects a socket that shares its port, with what waited in it, as far as no packet is needed.
pub(super) fn connect(
    socket: &OwnedFd,
    state: u32,
    (own, peer): (SocketAddr, SocketAddr),
    stream: &Stream,
) -> Result<(), Errno> {
    let ends = Ends::of(state).ok_or(Errno::INVAL)?;
    let numbers = Numbers::of(ends, stream);
    let fd = socket.as_fd();
    repair::turn_on(fd)?;
    // Room for all that waited; its own sizes come with the other options.
    const ROOM: i32 = 1 << 29;
    set_number(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, ROOM)?;
    set_number(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM)?;
    bind(socket, &own)?;
    let first = numbers.received.wrapping_sub(stream.inq_len);
    repair::set_sequence(fd, Queue::Receive, first)?;
    let first = numbers.given.wrapping_sub(stream.outq_len);
    if state == SYN_SENT {
        repair::set_sequence(fd, Queue::Send, first.wrapping_sub(1))?;
        return ask(socket, peer);
    }
    repair::set_sequence(fd, Queue::Send, first)?;
    connect_with_segments(socket, peer, stream.mss_clamp)?;
    repair::agree(fd, &agreed(stream))?;
    if let Some(timestamp) = stream.timestamp {
        let timestamp = timestamp.cast_signed();
        set_number(fd, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP, timestamp)?;
    }
    let queues = Queues::of(stream)?;
    for (queue, bytes) in [
        (Queue::Receive, queues.received),
        (Queue::Send, queues.sent),
    ] {
        repair::select(fd, queue)?;
        put(fd, bytes)?;
    }
    repair::select(fd, Queue::None)?;
    match window(ends, stream) {
        Some(window) => repair::set_window(fd, window),
        None => Ok(()),
    }
}

/// Connects a socket whose peer takes segments of so many bytes. The kernel computes what it sends at once when it connects, and
/// does not do so again when it is told what was agreed: without this a connection would go on in segments of 536 bytes.
fn connect_with_segments(socket: &OwnedFd, peer: SocketAddr, bytes: u32) -> Result<(), Errno> {
    /// What `TCP_MAXSEG` takes (`TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
    const TAKEN: RangeInclusive<u32> = 88..=32767;
    let set = |bytes: u32| {
        let bytes = bytes.cast_signed();
        set_number(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, bytes)
    };
    let most = bytes.min(*TAKEN.end());
    let asked = TAKEN.contains(&most);
    if asked {
        set(most)?;
    }
    rustix::net::connect(socket, &peer)?;
    if asked { set(0) } else { Ok(()) }
}

/// A connection that has not been answered yet is asked for again.
fn ask(socket: &OwnedFd, peer: SocketAddr) -> Result<(), Errno> {
    repair::turn_off(socket.as_fd())?;
    fcntl_setfl(socket, OFlags::NONBLOCK)?;
    match rustix::net::connect(socket, &peer) {
        Ok(()) | Err(Errno::INPROGRESS) => repair::turn_on(socket.as_fd()),
        failed => failed,
    }
}

fn agreed(stream: &TcpStreamEntry) -> Agreed {
    let has = |option| stream.opt_mask & option != 0;
    let scale = (stream.snd_wscale, stream.rcv_wscale.unwrap_or(0));
    Agreed {
        mss_clamp: stream.mss_clamp,
        window_scale: has(Info::WINDOW_SCALE).then_some(scale),
        sack: has(Info::SACK),
        timestamps: has(Info::TIMESTAMPS),
    }
}

/// The windows, as before the peer's end came.
fn window(ends: Ends, stream: &TcpStreamEntry) -> Option<Window> {
    let end = u32::from(ends.theirs);
    Some(Window {
        snd_wl1: stream.snd_wl1?,
        snd_wnd: stream.snd_wnd?,
        max_window: stream.max_window?,
        rcv_wnd: stream.rcv_wnd?.saturating_add(end),
        rcv_wup: stream.rcv_wup?.wrapping_sub(end),
    })
}

/// What waited: received and not read; sent and not confirmed; not sent.
struct Queues<'s> {
    received: &'s [u8],
    sent: &'s [u8],
    unsent: &'s [u8],
}

impl<'s> Queues<'s> {
    fn of(stream: &'s Stream) -> Result<Self, Errno> {
        let unsent = stream.unsq_len.unwrap_or(0);
        let sent = stream.outq_len.checked_sub(unsent).ok_or(Errno::INVAL)?;
        let bytes = stream.payload.as_slice();
        let (received, bytes) = bytes
            .split_at_checked(stream.inq_len as usize)
            .ok_or(Errno::INVAL)?;
        let (sent, unsent_bytes) = bytes.split_at_checked(sent as usize).ok_or(Errno::INVAL)?;
        if unsent_bytes.len() != unsent as usize {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            received,
            sent,
            unsent: unsent_bytes,
        })
    }
}

/// Puts bytes into a queue. The kernel wants memory in one piece for what it is given at once to have been received.
fn put(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    const PIECE: usize = 16 << 10;
    for piece in bytes.chunks(PIECE) {
        let mut rest = piece;
        while !rest.is_empty() {
            let put = send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
            rest = rest.get(put..).unwrap_or_default();
        }
    }
    Ok(())
}

/// What takes packets: bytes that were never sent, and ends of streams. None of them passes the lock but those that we send in
/// the peer's name.
pub(super) fn complete(socket: &OwnedFd, this: &InetSkEntry, stream: &Stream) -> Result<(), Errno> {
    let (Some(ends), Some(own), Some(peer)) = (Ends::of(this.state), own_of(this), peer_of(this))
    else {
        return Err(Errno::INVAL);
    };
    let fd = socket.as_fd();
    let unsent = Queues::of(stream)?.unsent;
    if !unsent.is_empty() {
        repair::turn_off_silently(fd)?;
        put(fd, unsent)?;
        repair::turn_on(fd)?;
    }
    let numbers = Numbers::of(ends, stream);
    let confirmed = numbers.given.wrapping_sub(stream.outq_len);
    let window = stream.snd_wnd.unwrap_or(0) >> stream.snd_wscale.min(14);
    let segment = Segment {
        from: plain(peer),
        to: plain(own),
        sequence: numbers.received,
        acknowledges: confirmed,
        flags: FIN | ACK,
        window: u16::try_from(window).unwrap_or(u16::MAX),
    };
    let close = |acknowledged| close_end(fd, acknowledged);
    if let Some(ours) = ends.ours.filter(|ours| ours.first) {
        close(ours.acknowledged)?;
    }
    if ends.theirs {
        raw::send(&segment.packet(), segment.to)?;
    }
    let Some(ours) = ends.ours else { return Ok(()) };
    if !ours.first {
        close(ours.acknowledged)?;
    }
    if ours.acknowledged {
        let confirmation = Segment {
            sequence: segment.sequence.wrapping_add(ends.theirs.into()),
            acknowledges: confirmed.wrapping_add(1),
            flags: ACK,
            ..segment
        };
        raw::send(&confirmation.packet(), segment.to)?;
    }
    Ok(())
}

/// Closes our end. One that the peer knows of counts as sent, without a packet.
fn close_end(socket: BorrowedFd<'_>, acknowledged: bool) -> Result<(), Errno> {
    if acknowledged {
        repair::select(socket, Queue::Send)?;
    }
    shutdown(socket, Shutdown::Write)?;
    repair::select(socket, Queue::None)
}

/// Lets no packet of the connections pass until [`resume`], where that can be: what the dump left does the same for peers
/// outside, unless the host has been started anew.
pub(super) fn hold(files: &Files<'_>) -> Option<Lock> {
    let mut lock: Option<Lock> = None;
    for this in connections(files) {
        if lock.is_none() {
            lock = Lock::begin().ok();
        }
        if let (Some(own), Some(peer)) = (own_of(this), peer_of(this)) {
            lock.as_mut()?.add(own, peer).ok()?;
        }
    }
    lock
}

fn connections<'f>(files: &'f Files<'_>) -> impl Iterator<Item = &'f InetSkEntry> {
    let sockets = files.snapshot.files.values();
    let sockets = sockets.filter_map(|entry| entry.isk.as_ref());
    sockets.filter(|this| inet::is_connection(this))
}

/// The tree is complete: packets pass again, and connections go on.
pub(super) fn resume(files: &mut Files<'_>) -> Result<(), Error> {
    let inventory = &files.snapshot.inventory;
    // Even to be told that there is no such lock takes the kernel as long as half a small restore.
    if connections(files).next().is_some()
        && inventory.network_lock_method == Some(lock::NFTABLES)
        && let Some(run) = &inventory.dump_criu_run_id
    {
        let run = String::from_utf8_lossy(run);
        lock::lift(&run).map_err(|errno| Error::file("lift", "the lock of connections", errno))?;
    }
    files.lock = None;
    if files.close_connections {
        return Ok(());
    }
    for (entry, made) in inet::sockets(files) {
        let Some(this) = entry.isk.as_ref().filter(|this| inet::is_connection(this)) else {
            continue;
        };
        let reuse = i32::from(this.opts.reuseaddr == Some(true));
        repair::turn_off(made.as_fd())
            .and_then(|()| set_number(made, libc::SOL_SOCKET, libc::SO_REUSEADDR, reuse))
            .map_err(|errno| Error::file("resume", format!("TCP socket {}", this.ino), errno))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::state::{CLOSE_WAIT, FIN_WAIT1};

    #[test]
    fn ends_are_not_counted_as_bytes() {
        let stream = TcpStreamEntry {
            inq_seq: 0,
            outq_seq: 100,
            ..TcpStreamEntry::default()
        };
        let of = |state| Numbers::of(Ends::of(state).unwrap(), &stream);
        assert_eq!(
            (of(CLOSE_WAIT).received, of(CLOSE_WAIT).given),
            (u32::MAX, 100)
        );
        assert_eq!((of(FIN_WAIT1).received, of(FIN_WAIT1).given), (0, 99));
    }

    #[test]
    fn queues_are_taken_apart_by_their_lengths() {
        let stream = TcpStreamEntry {
            inq_len: 2,
            outq_len: 4,
            unsq_len: Some(3),
            ..TcpStreamEntry::default()
        };
        let entry = Entry::with_payload(stream, b"rrsuuu".to_vec());
        let queues = Queues::of(&entry).unwrap();
        assert_eq!(queues.received, b"rr");
        assert_eq!((queues.sent, queues.unsent), (&b"s"[..], &b"uuu"[..]));
        for payload in [&b"rrsuu"[..], b"rrsuuuu", b""] {
            let entry = Entry::with_payload(stream, payload.to_vec());
            assert!(Queues::of(&entry).is_err());
        }
        let more = TcpStreamEntry {
            unsq_len: Some(5),
            ..stream
        };
        assert!(Queues::of(&Entry::with_payload(more, b"rrsuuu".to_vec())).is_err());
    }
}
