//! Packet sockets: made, bound, with their options, memberships and rings. What was in a ring is gone, as packets that came
//! meanwhile are.

use super::settle;
use crate::error::Error;
use crate::{packet_options, socket_options};
use plimsoll_image::proto::{FileEntry, PacketMclist, PacketRing, PacketSockEntry};
use plimsoll_sys::packet::{bind_to_interface, bind_to_name};
use plimsoll_sys::socket::{set_number, set_option};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, netdevice, socket_with};
use std::num::NonZeroU32;

/// An open packet socket.
pub(super) fn socket(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no packet socket", entry.id));
    let this = entry.psk.as_ref().ok_or_else(inconsistent)?;
    let failed = |errno: Errno| Error::file("make", format!("packet socket {}", this.id), errno);
    let made = make(this).map_err(failed)?;
    settle(&made, this.flags, &this.fown)?;
    Ok(made)
}

fn make(this: &PacketSockEntry) -> Result<OwnedFd, Errno> {
    let protocol = NonZeroU32::new(this.protocol).map(Protocol::from_raw);
    let kind = SocketType::from_raw(this.r#type);
    let socket = socket_with(AddressFamily::PACKET, kind, SocketFlags::CLOEXEC, protocol)?;
    let as_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    if this.r#type == packet_options::SOCK_PACKET {
        if this.ifindex != 0 {
            let name = netdevice::index_to_name(&socket, this.ifindex)?;
            bind_to_name(socket.as_fd(), &name).map_err(as_errno)?;
        }
    } else {
        bind_to_interface(socket.as_fd(), this.ifindex).map_err(as_errno)?;
        packet_options::write(socket.as_fd(), this)?;
        for member in &this.mclist {
            set_option(
                &socket,
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                &membership(member),
            )?;
        }
        let rings = [
            (libc::PACKET_RX_RING, &this.rx_ring),
            (libc::PACKET_TX_RING, &this.tx_ring),
        ];
        for (name, ring) in rings {
            if let Some(ring) = ring {
                set_option(&socket, libc::SOL_PACKET, name, &request(ring))?;
            }
        }
        if let Some(fanout) = this.fanout {
            let fanout = fanout.cast_signed();
            set_number(&socket, libc::SOL_PACKET, libc::PACKET_FANOUT, fanout)?;
        }
    }
    socket_options::write(socket.as_fd(), &this.opts)?;
    Ok(socket)
}

/// `struct packet_mreq`, as long as its address is.
fn membership(member: &PacketMclist) -> Vec<u8> {
    const LEAST: usize = 8;
    let half = |value: u32| u16::try_from(value).unwrap_or(u16::MAX).to_ne_bytes();
    let length = u32::try_from(member.addr.len()).unwrap_or(u32::MAX);
    let mut bytes = member.index.to_ne_bytes().to_vec();
    bytes.extend(half(member.r#type));
    bytes.extend(half(length));
    bytes.extend(&member.addr);
    bytes.resize(bytes.len().max(8 + LEAST), 0);
    bytes
}

/// `struct tpacket_req3`; those of older versions are its beginning.
fn request(ring: &PacketRing) -> Vec<u8> {
    let words = [
        ring.block_size,
        ring.block_nr,
        ring.frame_size,
        ring.frame_nr,
        ring.retire_tmo,
        ring.sizeof_priv,
        ring.features,
    ];
    words.map(u32::to_ne_bytes).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_is_as_long_as_the_kernel_wants_it() {
        let of = |addr: &[u8]| {
            membership(&PacketMclist {
                index: 1,
                r#type: 0,
                addr: addr.to_vec(),
            })
        };
        assert_eq!(of(&[]).len(), size_of::<libc::packet_mreq>());
        assert_eq!(of(&[1, 2, 3, 4, 5, 6])[6..10], [6, 0, 1, 2]);
        assert_eq!(of(&[0; 20]).len(), 28);
    }
}
