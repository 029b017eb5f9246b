//! IP packets that we make up in others' names: bytes, with their checksums (RFC 791, 8200, 768; RFC 1071).
//!
//! What a socket has received can't be set by any call: it must arrive. Ends of TCP streams do so in segments
//! ([`crate::tcp::segment`]), and what waited in a UDP socket in the datagrams that it came in, which is also how the images
//! hold it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const V4_HEADER: u8 = 20;
const V6_HEADER: u8 = 40;

/// A packet, from address to address, with what the protocol of this number wants in it.
pub(crate) fn packet(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> Vec<u8> {
    const HOPS: u8 = 64;
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length(usize::from(V4_HEADER) + content.len()).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, HOPS, protocol, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            let [high, low] = checksum(&header).to_be_bytes();
            if let Some(place) = header.get_mut(10..12) {
                place.copy_from_slice(&[high, low]);
            }
            header
        }
        (from, to) => {
            let [high, low] = length(content.len()).to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, high, low, protocol, HOPS];
            header.extend(octets(from));
            header.extend(octets(to));
            header
        }
    };
    packet.extend(content);
    packet
}

/// The kernel takes nothing for a packet that is longer than its length can say.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// The checksum of what is in a packet, which covers who it goes between.
pub(crate) fn content_checksum(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> u16 {
    let mut bytes = octets(from);
    bytes.extend(octets(to));
    let [high, low] = length(content.len()).to_be_bytes();
    bytes.extend([0, protocol, high, low]); // the sum does not care about the widths that IPv6 gives these
    bytes.extend(content);
    checksum(&bytes)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The ones' complement of the ones' complement sum of all 16-bit words; a last byte alone is the upper one of its word.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, last) = bytes.as_chunks::<2>();
    let words = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)));
    let last = last.iter().map(|byte| u64::from(*byte) << 8);
    let mut sum: u64 = words.chain(last).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram<'d> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'d [u8],
}

impl<'d> Datagram<'d> {
    /// In an IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (from, to) = (self.from.ip(), self.to.ip());
        let mut content = Vec::with_capacity(UDP_HEADER + self.bytes.len());
        content.extend(self.from.port().to_be_bytes());
        content.extend(self.to.port().to_be_bytes());
        content.extend(length(UDP_HEADER + self.bytes.len()).to_be_bytes());
        content.extend([0, 0]);
        content.extend(self.bytes);
        let sum = match content_checksum(from, to, UDP, &content) {
            0 => u16::MAX, // which is the same sum; 0 says that there is none
            sum => sum,
        };
        if let Some(place) = content.get_mut(6..8) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        packet(from, to, UDP, &content)
    }

    /// The one in a packet as [`packet`](Self::packet) makes it; `None` for anything else.
    pub(crate) fn of_packet(packet: &'d [u8]) -> Option<Self> {
        let addresses: (IpAddr, IpAddr);
        let (protocol, header) = match packet.first()? {
            0x45 => {
                let v4 = |at: usize| {
                    let octets: &[u8; 4] = packet.get(at..)?.first_chunk()?;
                    Some(IpAddr::from(Ipv4Addr::from(*octets)))
                };
                addresses = (v4(12)?, v4(16)?);
                (packet.get(9)?, V4_HEADER)
            }
            0x60 => {
                let v6 = |at: usize| {
                    let octets: &[u8; 16] = packet.get(at..)?.first_chunk()?;
                    Some(IpAddr::from(Ipv6Addr::from(*octets)))
                };
                addresses = (v6(8)?, v6(24)?);
                (packet.get(6)?, V6_HEADER)
            }
            _ => return None,
        };
        let content = packet.get(usize::from(header)..)?;
        let port = |at: usize| Some(u16::from_be_bytes(*content.get(at..)?.first_chunk()?));
        let bytes = content.get(UDP_HEADER..)?;
        (*protocol == UDP).then_some(Self {
            from: (addresses.0, port(0)?).into(),
            to: (addresses.1, port(2)?).into(),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_of_the_rfc() {
        // RFC 1071, section 3: the sum of these words is ddf2.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[1, 2, 3]), checksum(&[1, 2, 3, 0]));
    }

    #[test]
    fn a_datagram_comes_out_of_its_packet_and_whoever_sums_it_finds_nothing() {
        for (from, to) in [
            ("127.0.0.1:53", "10.1.2.3:40000"),
            ("[::1]:53", "[fd00::2]:65535"),
        ] {
            for bytes in [&b""[..], b"odd", b"even"] {
                let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                let datagram = Datagram { from, to, bytes };
                let packet = datagram.packet();
                assert_eq!(Datagram::of_packet(&packet), Some(datagram));
                let header = if from.is_ipv4() { 20 } else { 40 };
                let content = &packet[header..];
                assert_eq!(content_checksum(from.ip(), to.ip(), UDP, content), 0);
                if from.is_ipv4() {
                    assert_eq!(checksum(&packet[..header]), 0);
                }
                for cut in 0..header + UDP_HEADER {
                    assert_eq!(Datagram::of_packet(&packet[..cut]), None);
                }
            }
        }
        assert_eq!(Datagram::of_packet(&[0; 100]), None);
    }
}
