//! A TCP segment as a peer would send it to us: bytes, with their checksum (RFC 9293, section 3.1).
//!
//! What a socket has received beyond data, the end of the stream or the acknowledgement of its own end, can't be set: it must
//! arrive. Such segments carry no data.

use crate::ip_packet::{content_checksum, packet};
use std::net::SocketAddr;

pub(crate) const FIN: u8 = 1;
pub(crate) const ACK: u8 = 16;

/// A segment without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
}

const TCP: u8 = 6;
const HEADER: usize = 20;

impl Segment {
    /// The TCP header, which is all that there is of it.
    pub(crate) fn header(&self) -> [u8; HEADER] {
        const WORDS: u8 = 5;
        let mut header = [0; HEADER];
        let fields: [&[u8]; 7] = [
            &self.from.port().to_be_bytes(),
            &self.to.port().to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.acknowledges.to_be_bytes(),
            &[WORDS << 4, self.flags],
            &self.window.to_be_bytes(),
            &[0, 0, 0, 0], // checksum, urgent pointer
        ];
        for (byte, value) in header.iter_mut().zip(fields.concat()) {
            *byte = value;
        }
        let sum = content_checksum(self.from.ip(), self.to.ip(), TCP, &header);
        let [high, low] = sum.to_be_bytes();
        if let Some(place) = header.get_mut(16..18) {
            place.copy_from_slice(&[high, low]);
        }
        header
    }

    /// The segment in an IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        packet(self.from.ip(), self.to.ip(), TCP, &self.header())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: &str, to: &str) -> Segment {
        Segment {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            sequence: 0x0102_0304,
            acknowledges: 0xfffe_fdfc,
            flags: FIN | ACK,
            window: 512,
        }
    }

    #[test]
    fn whoever_sums_a_packet_with_its_checksums_finds_nothing() {
        for (from, to) in [
            ("127.0.0.1:80", "10.1.2.3:40000"),
            ("[::1]:80", "[fd00::2]:65535"),
        ] {
            let segment = segment(from, to);
            let (from, to) = (segment.from.ip(), segment.to.ip());
            assert_eq!(content_checksum(from, to, TCP, &segment.header()), 0);
        }
        let packet = segment("127.0.0.1:80", "10.1.2.3:40000").packet();
        assert_eq!(packet.len(), 40);
        assert_eq!(segment("[::1]:80", "[::1]:81").packet().len(), 60);
    }
}
