//! Datagrams that wait in a UDP socket. Each is kept as the packet that it came in, so that it can come again: CRIU, which
//! drops them, reads past such packets.

use super::{Files, Open};
use crate::error::Error;
use crate::ip_packet::Datagram;
use crate::tcp::lock::plain;
use plimsoll_image::Entry;
use plimsoll_image::proto::SkPacketEntry;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// More than a datagram holds.
const MOST: usize = 64 << 10;

/// Whether any may wait. Who only peeks at what is there would take an error that waits for its program.
pub(super) fn wait(open: &Open<'_>) -> Result<bool, Errno> {
    let mut one = [PollFd::new(&open.file, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut one, Some(&now))?;
    let [one] = &one;
    Ok(one.revents().contains(PollFlags::IN))
}

/// Everything that waits in a socket of this name, left where it is.
pub(super) fn queue(
    files: &mut Files,
    open: &Open<'_>,
    id: u32,
    own: SocketAddr,
) -> Result<(), Error> {
    let failed = |errno: Errno| open.failed("read what waits in", errno);
    let mut bytes = vec![0; MOST];
    loop {
        let mut no_control = RecvAncillaryBuffer::new(&mut []);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let message = match recvmsg(&open.file, into, &mut no_control, flags) {
            Err(Errno::AGAIN) => return Ok(()),
            message => message.map_err(failed)?,
        };
        let from = message
            .address
            .and_then(|any| SocketAddr::try_from(any).ok());
        let Some(from) = from.map(plain) else {
            return Ok(()); // the end that shutdown(2) makes of it comes from nobody
        };
        let datagram = Datagram {
            from,
            to: (reached_at(own, from.ip()), own.port()).into(),
            bytes: bytes.get(..message.bytes).unwrap_or_default(),
        };
        let payload = datagram.packet();
        let packet = SkPacketEntry {
            id_for: id,
            length: u32::try_from(payload.len()).unwrap_or(0),
            scm: Vec::new(),
        };
        files.queues.push(Entry::with_payload(packet, payload));
    }
}

/// The address that a sender has reached a socket at: its own, or where it takes whatever comes, ours on the way to the
/// sender.
fn reached_at(own: SocketAddr, from: IpAddr) -> IpAddr {
    let own = plain(own).ip();
    if !own.is_unspecified() {
        return own;
    }
    let (any, loopback): (IpAddr, IpAddr) = match from {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    };
    let here = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((from, 1))?; // no packet goes
        socket.local_addr()
    });
    here.map_or(loopback, |here| here.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_reached_the_name_or_an_address_of_ours() {
        let at = |own: &str, from: &str| {
            let reached = reached_at(own.parse().unwrap(), from.parse().unwrap());
            reached.to_string()
        };
        assert_eq!(at("10.1.2.3:9", "127.0.0.1"), "10.1.2.3");
        assert_eq!(at("[::ffff:10.1.2.3]:9", "127.0.0.1"), "10.1.2.3");
        assert_eq!(at("0.0.0.0:9", "127.0.0.5"), "127.0.0.1");
        assert_eq!(at("[::]:9", "127.0.0.5"), "127.0.0.1");
        assert_eq!(at("[::]:9", "::1"), "::1");
    }
}
