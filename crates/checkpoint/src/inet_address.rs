//! Addresses of IP sockets: as the kernel gives them, as the images hold them.

use plimsoll_image::proto::InetSkEntry;
use plimsoll_sys::socket::option;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The name of a socket.
pub(crate) fn own(socket: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?)
}

/// Whom it is connected with, connects with, or was connected with: `SO_PEERNAME` tells where `getpeername(2)` does not.
pub(crate) fn peer(socket: BorrowedFd<'_>, family: i32) -> Result<Option<SocketAddr>, Errno> {
    // No more room than the name takes: the kernel refuses to give less than is asked for.
    let length = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        _ => size_of::<libc::sockaddr_in6>(),
    };
    match option(socket, libc::SOL_SOCKET, libc::SO_PEERNAME, length) {
        Err(Errno::NOTCONN) => Ok(None),
        name => Ok(parse(&name?).filter(|peer| peer.port() != 0)),
    }
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn parse(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let octets: [u8; 4] = *rest.first_chunk()?;
            Some(SocketAddrV4::new(octets.into(), port).into())
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *rest.get(4..)?.first_chunk()?;
            let scope = rest.get(20..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*scope);
            Some(SocketAddrV6::new(octets.into(), port, 0, scope).into())
        }
        _ => None,
    }
}

/// An address as the images hold it: its bytes in words of this machine.
pub(crate) fn words(address: IpAddr) -> Vec<u32> {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _) = octets.as_chunks::<4>();
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

/// An address of none: its name before it has one.
pub(crate) fn unspecified(family: i32) -> SocketAddr {
    if family == libc::AF_INET6 {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }
}

/// The name that the images give a socket; `None` for what is no address.
pub(crate) fn own_of(entry: &InetSkEntry) -> Option<SocketAddr> {
    address(entry.family, &entry.src_addr, entry.src_port)
}

/// Its peer in the images; `None` where it has none.
pub(crate) fn peer_of(entry: &InetSkEntry) -> Option<SocketAddr> {
    address(entry.family, &entry.dst_addr, entry.dst_port).filter(|peer| peer.port() != 0)
}

fn address(family: u32, words: &[u32], port: u32) -> Option<SocketAddr> {
    let port = u16::try_from(port).ok()?;
    let octets = words
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect::<Vec<u8>>();
    match i32::try_from(family).ok()? {
        libc::AF_INET => {
            let octets: [u8; 4] = *octets.first_chunk()?;
            Some((octets, port).into())
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *octets.first_chunk()?;
            Some((octets, port).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    #[test]
    fn addresses_come_back_from_the_images() {
        for text in ["127.0.0.1:80", "[fe80::1:2]:65535", "[::]:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let entry = InetSkEntry {
                family: if address.is_ipv4() { 2 } else { 10 },
                src_addr: words(address.ip()),
                src_port: address.port().into(),
                ..InetSkEntry::default()
            };
            assert_eq!(own_of(&entry), Some(address));
            assert_eq!(peer_of(&entry), None);
        }
        assert_eq!(
            words("1.2.3.4".parse().unwrap()),
            [u32::from_ne_bytes([1, 2, 3, 4])]
        );
    }

    #[test]
    fn a_socket_tells_its_ends() {
        for (name, family) in [("127.0.0.1:0", 2), ("[::1]:0", 10)] {
            let one = std::net::UdpSocket::bind(name).unwrap();
            assert_eq!(own(one.as_fd()), Ok(one.local_addr().unwrap()));
            assert_eq!(peer(one.as_fd(), family), Ok(None));
            one.connect(one.local_addr().unwrap()).unwrap();
            assert_eq!(
                peer(one.as_fd(), family),
                Ok(Some(one.local_addr().unwrap()))
            );
        }
        assert_eq!(parse(&[2, 0, 0]), None);
    }
}
