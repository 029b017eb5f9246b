//! A TCP segment as a peer would send it to us: bytes, with their checksum (RFC 9293, section 3.1; RFC 1071).
//!
//! What a socket has received beyond data, the end of the stream or the acknowledgement of its own end, can't be set: it must
//! arrive. Such segments carry no data.

use std::net::{IpAddr, SocketAddr};

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
        let sum = checksum(&[self.pseudo_header(), header.to_vec()].concat());
        let [high, low] = sum.to_be_bytes();
        if let Some(place) = header.get_mut(16..18) {
            place.copy_from_slice(&[high, low]);
        }
        header
    }

    /// The segment in an IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        const HOPS: u8 = 64;
        let header = self.header();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                const LENGTH: u8 = 40;
                let mut ip = vec![0x45, 0, 0, LENGTH, 0, 0, 0, 0, HOPS, TCP, 0, 0];
                ip.extend(from.octets());
                ip.extend(to.octets());
                let [high, low] = checksum(&ip).to_be_bytes();
                if let Some(place) = ip.get_mut(10..12) {
                    place.copy_from_slice(&[high, low]);
                }
                [ip, header.to_vec()].concat()
            }
            (from, to) => {
                let mut ip = vec![0x60, 0, 0, 0, 0, 20, TCP, HOPS];
                ip.extend(octets(from));
                ip.extend(octets(to));
                [ip, header.to_vec()].concat()
            }
        }
    }

    fn pseudo_header(&self) -> Vec<u8> {
        let mut bytes = octets(self.from.ip());
        bytes.extend(octets(self.to.ip()));
        bytes.extend([0, TCP, 0, 20]); // the sum does not care about the widths that IPv6 gives these
        bytes
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The ones' complement of the ones' complement sum of all 16-bit words.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
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
            let whole = [segment.pseudo_header(), segment.header().to_vec()].concat();
            assert_eq!(checksum(&whole), 0);
        }
        let packet = segment("127.0.0.1:80", "10.1.2.3:40000").packet();
        assert_eq!((packet.len(), checksum(&packet[..20])), (40, 0));
        assert_eq!(segment("[::1]:80", "[::1]:81").packet().len(), 60);
    }

    #[test]
    fn the_sum_is_the_one_of_the_rfc() {
        // RFC 1071, section 3: the sum of these words is ddf2.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }
}
