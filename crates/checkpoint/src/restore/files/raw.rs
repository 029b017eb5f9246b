//! Packets sent in others' names (`raw(7)`), to sockets of this host. They bear the mark that locks of connections let pass.

use crate::tcp::MARK;
use plimsoll_sys::socket::set_number;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};
use std::net::SocketAddr;

/// Sends a packet with its header as it is.
pub(super) fn send(packet: &[u8], mut to: SocketAddr) -> Result<(), Errno> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let raw = Some(ipproto::RAW);
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, raw)?;
    let mark = MARK.cast_signed();
    set_number(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark)?;
    to.set_port(0);
    sendto(&socket, packet, SendFlags::empty(), &to)?;
    Ok(())
}
