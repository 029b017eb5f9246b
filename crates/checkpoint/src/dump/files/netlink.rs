//! Netlink sockets (`netlink(7)`): port, groups, peer and options.

use super::{Files, Open, entry};
use crate::coverage::NETLINK_WAITS;
use crate::error::Error;
use crate::socket_options;
use plimsoll_image::proto::{FdTypes, FileEntry, NetlinkSkEntry};
use plimsoll_sys::socket::{number, option};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;

/// An open netlink socket.
pub(super) fn socket(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let failed = |errno: Errno| open.failed("look into the socket", errno);
    let socket = open.file.as_fd();
    if has_waiting(socket).map_err(failed)? {
        return Err(Error::refused(NETLINK_WAITS.of(open.pid, &[&open.fd])));
    }
    let own = rustix::net::getsockname(socket).and_then(SocketAddrNetlink::try_from);
    let own = own.map_err(failed)?;
    let peer = rustix::net::getpeername(socket)
        .map_err(failed)?
        .and_then(|peer| SocketAddrNetlink::try_from(peer).ok())
        .filter(|peer| (peer.pid(), peer.groups()) != (0, 0));
    let protocol = number(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).map_err(failed)?;
    Ok(FileEntry {
        nlsk: Some(NetlinkSkEntry {
            id,
            ino: u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0),
            protocol: protocol.cast_unsigned(),
            state: u32::from(peer.is_some()), // NETLINK_CONNECTED
            flags: open.flags(),
            portid: own.pid(),
            groups: groups(socket).map_err(failed)?,
            dst_portid: peer.as_ref().map_or(0, SocketAddrNetlink::pid),
            dst_group: peer.as_ref().map_or(0, |peer| first_group(peer.groups())),
            fown: open.owner()?,
            opts: socket_options::read(socket).map_err(failed)?,
            ns_id: Some(2),
        }),
        ..entry(FdTypes::Netlinksk, id)
    })
}

fn has_waiting(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut one = [PollFd::new(&socket, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut one, Some(&now))?;
    let [one] = &one;
    Ok(one.revents().contains(PollFlags::IN))
}

/// The groups that it is a member of, 32 to a word, without empty words at the end.
fn groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    const SOL_NETLINK: i32 = 270;
    const NETLINK_LIST_MEMBERSHIPS: i32 = 9;
    const ROOM: usize = 64;
    let bytes = option(socket, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, ROOM)?;
    let (words, _) = bytes.as_chunks::<4>();
    let mut groups: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    Ok(groups)
}

/// Groups are counted from 1; 0 is none.
fn first_group(mask: u32) -> u32 {
    match mask {
        0 => 0,
        mask => mask.trailing_zeros() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind};

    #[test]
    fn groups_are_read() {
        // Protocol 0 is that of routes.
        let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None);
        let socket = socket.unwrap();
        assert_eq!(groups(socket.as_fd()), Ok(vec![]));
        bind(&socket, &SocketAddrNetlink::new(0, 0b101)).unwrap();
        assert_eq!(groups(socket.as_fd()), Ok(vec![0b101]));
        assert_eq!(has_waiting(socket.as_fd()), Ok(false));
        assert_eq!((first_group(0), first_group(4)), (0, 3));
    }
}
