//! What is asked about each family of sockets, and how an answer is laid out: a fixed part, then attributes.
//!
//! `sock_diag(7)`; `linux/{unix,inet,netlink,packet}_diag.h`. The memory of a socket is an array of words
//! (`SK_MEMINFO_*` in `linux/sock_diag.h`).

use super::netlink::{attributes, u32_at};
use crate::found::SocketFamily;
use plimsoll_units::Bytes;

/// A dump of one family.
pub(super) struct Question {
    /// For messages; each answer names its own.
    pub(super) name: &'static str,
    pub(super) request: Vec<u8>,
    pub(super) read: Read,
}

/// Reads one answer; `None` for one that is too short.
type Read = fn(&[u8]) -> Option<Socket>;

/// One socket, as far as it holds memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) family: SocketFamily,
    pub(super) inode: u32,
    /// The other end, by inode; 0 where it is gone.
    pub(super) peer: u32,
    /// Sum of `skb->truesize`, both directions.
    pub(super) truesize: Bytes,
    /// Payload waiting to be read, where the family tells.
    pub(super) queued: Bytes,
    /// Rings: block size in bytes, and how many blocks.
    pub(super) rings: Vec<(u32, u32)>,
}

impl Socket {
    fn of(family: SocketFamily) -> Self {
        Self {
            family,
            inode: 0,
            peer: 0,
            truesize: Bytes::ZERO,
            queued: Bytes::ZERO,
            rings: Vec::new(),
        }
    }
}

/// All dumps that there are.
pub(super) fn questions() -> Vec<Question> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let ask = |name, request, read: Read| Question {
        name,
        request,
        read,
    };
    let mut questions = vec![
        ask("UNIX", unix_request(), unix),
        ask("netlink", netlink_request(), netlink),
        ask("packet", packet_request(), packet),
    ];
    for family in [AF_INET, AF_INET6] {
        for (name, protocol, read) in INET {
            questions.push(ask(name, inet_request(family, protocol), read));
        }
    }
    questions
}

pub(super) const UDP_LITE: &str = "UDP-Lite";
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_UDPLITE: u8 = 136;
const INET: [(&str, u8, Read); 3] = [
    ("TCP", IPPROTO_TCP, tcp),
    ("UDP", IPPROTO_UDP, udp),
    (UDP_LITE, IPPROTO_UDPLITE, udp),
];
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u8 = 10;
/// States without buffers of their own: some hosts have a hundred thousand sockets in them.
const BARE_TCP_STATES: u32 = 1 << TCP_TIME_WAIT | 1 << TCP_LISTEN;
const ALL_STATES: u32 = u32::MAX;

/// `unix_diag_req`: family, protocol, pad, states, inode, show, cookie.
fn unix_request() -> Vec<u8> {
    const AF_UNIX: u8 = 1;
    const SHOW_PEER_RQLEN_MEMINFO: u32 = 0x04 | 0x10 | 0x20;
    let words = [ALL_STATES, 0, SHOW_PEER_RQLEN_MEMINFO, 0, 0];
    [&[AF_UNIX, 0, 0, 0][..], &bytes_of(&words)].concat()
}

/// `netlink_diag_req`: family, protocol, pad, inode, show, cookie.
fn netlink_request() -> Vec<u8> {
    const AF_NETLINK: u8 = 16;
    const NDIAG_PROTO_ALL: u8 = 255;
    const NDIAG_SHOW_MEMINFO: u32 = 0x01;
    let words = [0, NDIAG_SHOW_MEMINFO, 0, 0];
    [&[AF_NETLINK, NDIAG_PROTO_ALL, 0, 0][..], &bytes_of(&words)].concat()
}

/// `packet_diag_req`: as netlink's.
fn packet_request() -> Vec<u8> {
    const AF_PACKET: u8 = 17;
    const SHOW_RING_CFG_MEMINFO: u32 = 0x04 | 0x10;
    let words = [0, SHOW_RING_CFG_MEMINFO, 0, 0];
    [&[AF_PACKET, 0, 0, 0][..], &bytes_of(&words)].concat()
}

/// `inet_diag_req_v2`: family, protocol, extensions, pad, states, and the socket's address, any here.
fn inet_request(family: u8, protocol: u8) -> Vec<u8> {
    const SKMEMINFO: u8 = 1 << (INET_DIAG_SKMEMINFO - 1);
    const ADDRESS_BYTES: usize = 48;
    let states = match protocol {
        IPPROTO_TCP => ALL_STATES & !BARE_TCP_STATES,
        _ => ALL_STATES,
    };
    let mut request = [&[family, protocol, SKMEMINFO, 0][..], &bytes_of(&[states])].concat();
    request.resize(request.len() + ADDRESS_BYTES, 0);
    request
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `unix_diag_msg`: family, type, state, pad, inode, cookie.
fn unix(answer: &[u8]) -> Option<Socket> {
    const FIXED: usize = 16;
    const UNIX_DIAG_PEER: u16 = 2;
    const UNIX_DIAG_RQLEN: u16 = 4;
    const UNIX_DIAG_MEMINFO: u16 = 5;
    const SOCK_STREAM: u8 = 1;
    const SOCK_DGRAM: u8 = 2;
    let [_, socket_type, state, ..] = *answer else {
        return None;
    };
    // A listener tells waiting connections here, a datagram socket the first message only.
    let tells_queue = state != TCP_LISTEN && socket_type != SOCK_DGRAM;
    let family = match socket_type {
        SOCK_STREAM => SocketFamily::UnixStream,
        _ => SocketFamily::UnixDatagram,
    };
    let mut socket = Socket {
        inode: u32_at(answer, 4)?,
        ..Socket::of(family)
    };
    for (kind, value) in attributes(answer.get(FIXED..)?) {
        match kind {
            UNIX_DIAG_PEER => socket.peer = u32_at(value, 0)?,
            UNIX_DIAG_RQLEN if tells_queue => socket.queued = Bytes(u32_at(value, 0)?.into()),
            UNIX_DIAG_MEMINFO => socket.truesize = received(value) + sent(value),
            _ => {}
        }
    }
    Some(socket)
}

/// `netlink_diag_msg`: family, type, protocol, state, four ports and groups, inode, cookie.
fn netlink(answer: &[u8]) -> Option<Socket> {
    const FIXED: usize = 28;
    const NETLINK_DIAG_MEMINFO: u16 = 0;
    let mut socket = Socket::of(SocketFamily::Netlink);
    for (kind, value) in attributes(answer.get(FIXED..)?) {
        if kind == NETLINK_DIAG_MEMINFO {
            socket.truesize = received(value) + sent(value);
        }
    }
    Some(socket)
}

/// `packet_diag_msg`: family, type, protocol, inode, cookie.
fn packet(answer: &[u8]) -> Option<Socket> {
    const FIXED: usize = 16;
    const PACKET_DIAG_RX_RING: u16 = 2;
    const PACKET_DIAG_TX_RING: u16 = 3;
    const PACKET_DIAG_MEMINFO: u16 = 6;
    let mut socket = Socket {
        inode: u32_at(answer, 4)?,
        ..Socket::of(SocketFamily::Packet)
    };
    for (kind, value) in attributes(answer.get(FIXED..)?) {
        match kind {
            PACKET_DIAG_MEMINFO => socket.truesize = received(value) + sent(value),
            // `packet_diag_ring`: block size, number of blocks, and more.
            PACKET_DIAG_RX_RING | PACKET_DIAG_TX_RING => {
                socket.rings.push((u32_at(value, 0)?, u32_at(value, 4)?));
            }
            _ => {}
        }
    }
    Some(socket)
}

/// `inet_diag_msg`: four bytes, the address, then expires, rqueue, wqueue, uid and inode.
const INET_FIXED: usize = 72;
const INET_RQUEUE: usize = 56;
const INET_DIAG_SKMEMINFO: u16 = 7;

/// What TCP has sent and not yet got rid of is charged as queued; what is on its way is clones of that.
fn tcp(answer: &[u8]) -> Option<Socket> {
    let queued = Bytes(u32_at(answer, INET_RQUEUE)?.into());
    let truesize = inet_memory(answer, |memory| received(memory) + queued_to_send(memory))?;
    Some(Socket {
        truesize,
        queued,
        ..Socket::of(SocketFamily::Tcp)
    })
}

fn udp(answer: &[u8]) -> Option<Socket> {
    let truesize = inet_memory(answer, |memory| received(memory) + sent(memory))?;
    Some(Socket {
        truesize,
        ..Socket::of(SocketFamily::Udp)
    })
}

fn inet_memory(answer: &[u8], sum: impl Fn(&[u8]) -> Bytes) -> Option<Bytes> {
    let memory = attributes(answer.get(INET_FIXED..)?)
        .find_map(|(kind, value)| (kind == INET_DIAG_SKMEMINFO).then_some(value));
    Some(memory.map_or(Bytes::ZERO, sum))
}

/// `SK_MEMINFO_RMEM_ALLOC`, and `SK_MEMINFO_BACKLOG` for what came in while the socket was in use.
fn received(memory: &[u8]) -> Bytes {
    word(memory, 0) + word(memory, 7)
}

/// `SK_MEMINFO_WMEM_ALLOC`: sent, and not yet freed by whoever received it.
fn sent(memory: &[u8]) -> Bytes {
    word(memory, 2)
}

/// `SK_MEMINFO_WMEM_QUEUED`.
fn queued_to_send(memory: &[u8]) -> Bytes {
    word(memory, 5)
}

fn word(memory: &[u8], index: usize) -> Bytes {
    Bytes(u32_at(memory, index * 4).unwrap_or(0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, words: &[u32]) -> Vec<u8> {
        let length = u16::try_from(4 + words.len() * 4).unwrap();
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &bytes_of(words),
        ]
        .concat()
    }

    #[test]
    fn requests_have_the_kernels_sizes() {
        for (request, size) in [
            (unix_request(), 24),
            (netlink_request(), 20),
            (packet_request(), 20),
            (inet_request(2, IPPROTO_TCP), 56),
        ] {
            assert_eq!(request.len(), size);
        }
    }

    #[test]
    fn a_unix_stream_and_a_listener() {
        let mut answer = [&[1, 1, 1, 0][..], &bytes_of(&[77, 0, 0])].concat();
        answer.extend(attribute(2, &[78]));
        answer.extend(attribute(4, &[1000, 5]));
        answer.extend(attribute(5, &[0, 1, 2304, 4, 5, 6, 7, 0, 0]));
        let socket = unix(&answer).unwrap();
        assert_eq!((socket.inode, socket.peer), (77, 78));
        assert_eq!((socket.truesize, socket.queued), (Bytes(2304), Bytes(1000)));
        answer[2] = TCP_LISTEN;
        assert_eq!(unix(&answer).unwrap().queued, Bytes::ZERO);
    }

    #[test]
    fn a_ring_is_told_by_block_size_and_number() {
        let mut answer = [&[17, 3, 0, 0][..], &bytes_of(&[9, 0, 0])].concat();
        answer.extend(attribute(2, &[1 << 20, 256, 2048, 0, 0, 0, 0]));
        assert_eq!(packet(&answer).unwrap().rings, [(1 << 20, 256)]);
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in proptest::collection::vec(any::<u8>(), 0..160)) {
            for question in questions() {
                let _ = (question.read)(&answer);
            }
        }
    }
}
