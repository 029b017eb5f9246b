//! IP sockets: TCP, UDP, ICMP and raw ones. Each is asked itself, as a duplicate in our process; only which ways of a UDP
//! socket are shut down has to be asked of `sock_diag(7)`.

use super::{Files, Open, datagrams, entry, peek, tcp, unknown};
use crate::coverage::IP_BUSY;
use crate::error::Error;
use crate::inet_address::{own, peer, unspecified, words};
use crate::ip_options::{self, Kind};
use crate::socket_options;
use crate::tcp::repair::Info;
use crate::tcp::state::{CLOSE, ESTABLISHED, LISTEN};
use plimsoll_image::proto::{FdTypes, FileEntry, InetSkEntry, SkShutdown};
use plimsoll_proc::found::sockets::netlink::{SockDiag, attributes, u32_at};
use plimsoll_sys::socket::number;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Ways that are shut down, by a socket's inode: `RCV_SHUTDOWN` is 1, `SEND_SHUTDOWN` is 2.
pub(super) type Shutdowns = BTreeMap<u32, u8>;

/// An open IP socket.
pub(super) fn socket(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let failed = |errno: Errno| open.failed("look into the socket", errno);
    let socket = open.file.as_fd();
    let kind = kind(socket).map_err(failed)?;
    let ino = u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0);
    let own = own(socket).unwrap_or_else(|_| unspecified(kind.family));
    let peer = peer(socket, kind.family).map_err(failed)?;
    let mut this = InetSkEntry {
        id,
        ino,
        family: kind.family.cast_unsigned(),
        r#type: kind.kind.cast_unsigned(),
        proto: kind.protocol.cast_unsigned(),
        state: if peer.is_some() { ESTABLISHED } else { CLOSE },
        src_port: own.port().into(),
        dst_port: peer.map_or(0, |peer| peer.port().into()),
        flags: open.flags(),
        src_addr: words(own.ip()),
        dst_addr: words(peer.unwrap_or_else(|| unspecified(kind.family)).ip()),
        fown: open.owner()?,
        opts: socket_options::read(socket).map_err(failed)?,
        ip_opts: Some(ip_options::read(socket, kind).map_err(failed)?),
        ns_id: Some(2),
        ..InetSkEntry::default()
    };
    if kind.family == libc::AF_INET6 {
        let only = number(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).map_err(failed)?;
        this.v6only = Some(only != 0);
        this.ifname = this.opts.so_bound_dev.clone();
    }
    match (kind.kind, kind.protocol) {
        (libc::SOCK_STREAM, libc::IPPROTO_TCP) => {
            let info = Info::of(socket).map_err(failed)?;
            this.state = info.state;
            this.tcp_opts = Some(ip_options::read_tcp(socket).map_err(failed)?);
            if info.state == LISTEN {
                this.backlog = info.backlog;
                if info.waiting > 0 && !files.options.skip_in_flight {
                    return refuse(open, "with a connection that nobody has accepted yet");
                }
            } else if peer.is_none() {
                this.shutdown = unconnected_shutdown(socket).map_err(failed)?;
            }
            if let Some(peer) = peer {
                tcp::connection(files, open, ino, info, (own, peer))?;
            }
        }
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE) => {
            const UDP_CORK: i32 = 1;
            if number(socket, libc::SOL_UDP, UDP_CORK).map_err(failed)? != 0 {
                return refuse(open, "that is corked");
            }
            let shut = files.datagram_shutdowns().map_err(failed)?.get(&ino);
            this.shutdown = Some(shutdown(shut.copied().unwrap_or(0)).into());
            if !files.only_look && datagrams::wait(open).map_err(failed)? {
                peek::from_the_first(open, || datagrams::queue(files, open, id, own))?;
            }
        }
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) | (libc::SOCK_RAW, _) => {}
        _ => return Err(unknown(open)),
    }
    Ok(FileEntry {
        isk: Some(this),
        ..entry(FdTypes::Inetsk, id)
    })
}

fn kind(socket: BorrowedFd<'_>) -> Result<Kind, Errno> {
    let ask = |name| number(socket, libc::SOL_SOCKET, name);
    Ok(Kind {
        family: ask(libc::SO_DOMAIN)?,
        kind: ask(libc::SO_TYPE)?,
        protocol: ask(libc::SO_PROTOCOL)?,
    })
}

fn refuse<T>(open: &Open<'_>, how: &str) -> Result<T, Error> {
    Err(Error::refused(IP_BUSY.of(open.pid, &[&open.fd, &how])))
}

/// A TCP socket without a connection tells only by its events that its receiving way is shut.
fn unconnected_shutdown(socket: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let mut one = [PollFd::new(&socket, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut one, Some(&now))?;
    let [one] = &one;
    let shut = one.revents().contains(PollFlags::RDHUP);
    Ok(shut.then_some(SkShutdown::Read.into()))
}

fn shutdown(bits: u8) -> SkShutdown {
    match bits & 3 {
        0 => SkShutdown::None,
        1 => SkShutdown::Read,
        2 => SkShutdown::Write,
        _ => SkShutdown::Both,
    }
}

impl Files {
    /// Asked for once, when the first UDP socket is there.
    fn datagram_shutdowns(&mut self) -> Result<&Shutdowns, Errno> {
        if self.datagram_shutdowns.is_none() {
            self.datagram_shutdowns = Some(ask_shutdowns()?);
        }
        self.datagram_shutdowns.as_ref().ok_or(Errno::IO)
    }
}

fn ask_shutdowns() -> Result<Shutdowns, Errno> {
    let mut all = Shutdowns::new();
    let mut diag = SockDiag::open()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_UDPLITE] {
            let asked = diag.dump(&request(family, protocol), |answer| {
                all.extend(read(answer))
            });
            match asked {
                Err(Errno::NOENT) => {} // a kernel without UDP-Lite
                asked => asked?,
            }
        }
    }
    Ok(all)
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, and a socket's address, any here.
fn request(family: i32, protocol: i32) -> Vec<u8> {
    const BYTES: usize = 56;
    let byte = |number| u8::try_from(number).unwrap_or(0);
    let mut request = vec![byte(family), byte(protocol), 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.resize(BYTES, 0);
    request
}

/// `struct inet_diag_msg`: 72 bytes, the last four the inode; then attributes.
fn read(answer: &[u8]) -> Option<(u32, u8)> {
    const INODE: usize = 68;
    const INET_DIAG_SHUTDOWN: u16 = 8;
    let mut told = attributes(answer.get(INODE + 4..)?);
    let (_, shut) = told.find(|(kind, _)| *kind == INET_DIAG_SHUTDOWN)?;
    Some((u32_at(answer, INODE)?, *shut.first()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_way_that_is_shut_is_seen() {
        let one = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        one.connect(one.local_addr().unwrap()).unwrap();
        rustix::net::shutdown(&one, rustix::net::Shutdown::Write).unwrap();
        let file = std::fs::File::from(rustix::fd::OwnedFd::from(one));
        let ino = u32::try_from(file.metadata().unwrap().ino()).unwrap();
        assert_eq!(ask_shutdowns().unwrap().get(&ino), Some(&2));
        assert_eq!(shutdown(2), SkShutdown::Write);
        assert_eq!(read(&[0; 71]), None);
    }
}
