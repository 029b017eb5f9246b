//! Netlink sockets: made, bound, members of their groups, connected.

use super::settle;
use crate::error::Error;
use crate::socket_options;
use plimsoll_image::proto::{FileEntry, NetlinkSkEntry};
use plimsoll_sys::socket::set_number;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, connect, socket_with};
use std::num::NonZeroU32;

/// An open netlink socket.
pub(super) fn socket(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no netlink socket", entry.id));
    let this = entry.nlsk.as_ref().ok_or_else(inconsistent)?;
    let failed = |errno: Errno| Error::file("make", format!("netlink socket {}", this.ino), errno);
    let made = make(this).map_err(failed)?;
    settle(&made, this.flags, &this.fown)?;
    Ok(made)
}

fn make(this: &NetlinkSkEntry) -> Result<OwnedFd, Errno> {
    let protocol = NonZeroU32::new(this.protocol).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    socket_options::write(socket.as_fd(), &this.opts)?;
    let first = this.groups.first().copied().unwrap_or(0);
    if this.portid != 0 {
        match bind(&socket, &SocketAddrNetlink::new(this.portid, first)) {
            // Ports are the kernel's to give, most often by a pid, and hardly anybody asks which it is.
            Err(Errno::ADDRINUSE) => bind(&socket, &SocketAddrNetlink::new(0, first))?,
            bound => bound?,
        }
    }
    for group in further(&this.groups) {
        const SOL_NETLINK: i32 = 270;
        const NETLINK_ADD_MEMBERSHIP: i32 = 1;
        set_number(&socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)?;
    }
    if this.state != 0 {
        let groups = match this.dst_group {
            0 => 0,
            group => 1u32.checked_shl(group - 1).unwrap_or(0),
        };
        connect(&socket, &SocketAddrNetlink::new(this.dst_portid, groups))?;
    }
    Ok(socket)
}

/// The groups that a name has no room for, counted from 1.
fn further(groups: &[u32]) -> impl Iterator<Item = i32> {
    let words = groups.iter().zip(0..).skip(1);
    words.flat_map(|(word, place)| {
        (0..32)
            .filter(move |bit| word >> bit & 1 == 1)
            .map(move |bit| place * 32 + bit + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_beyond_the_name_are_joined_one_by_one() {
        assert_eq!(further(&[7]).count(), 0);
        assert_eq!(further(&[0, 0b101]).collect::<Vec<_>>(), [33, 35]);
    }
}
