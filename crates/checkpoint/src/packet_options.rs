//! Options of packet sockets (`packet(7)`) that are numbers, both ways. Each row is an option and its field in the images.

use plimsoll_image::proto::PacketSockEntry;
use plimsoll_sys::socket::{number, set_number};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

type Field<T> = fn(&mut PacketSockEntry) -> &mut T;

const PACKET_VNET_HDR: i32 = 15;
const PACKET_TIMESTAMP: i32 = 17;

const NUMBERS: [(i32, Field<u32>); 3] = [
    (libc::PACKET_VERSION, |o| &mut o.version),
    (libc::PACKET_RESERVE, |o| &mut o.reserve),
    (PACKET_TIMESTAMP, |o| &mut o.timestamp),
];

const SWITCHES: [(i32, Field<bool>); 4] = [
    (libc::PACKET_AUXDATA, |o| &mut o.aux_data),
    (libc::PACKET_ORIGDEV, |o| &mut o.orig_dev),
    (PACKET_VNET_HDR, |o| &mut o.vnet_hdr),
    (libc::PACKET_LOSS, |o| &mut o.loss),
];

/// The old kind of packet socket, which takes names of interfaces and has no options.
pub(crate) const SOCK_PACKET: u32 = 10;

/// Reads what a socket tells itself.
pub(crate) fn read(socket: BorrowedFd<'_>, entry: &mut PacketSockEntry) -> Result<(), Errno> {
    if entry.r#type == SOCK_PACKET {
        return Ok(());
    }
    for (name, field) in NUMBERS {
        *field(entry) = number(socket, libc::SOL_PACKET, name)?.cast_unsigned();
    }
    for (name, field) in SWITCHES {
        *field(entry) = number(socket, libc::SOL_PACKET, name)? != 0;
    }
    Ok(())
}

/// Sets it, for a socket that has no ring yet.
pub(crate) fn write(socket: BorrowedFd<'_>, entry: &PacketSockEntry) -> Result<(), Errno> {
    let mut wanted = entry.clone();
    for (name, field) in NUMBERS {
        set_number(
            socket,
            libc::SOL_PACKET,
            name,
            field(&mut wanted).cast_signed(),
        )?;
    }
    for (name, field) in SWITCHES {
        if *field(&mut wanted) {
            set_number(socket, libc::SOL_PACKET, name, 1)?;
        }
    }
    let least = wanted.copy_thresh.cast_signed();
    set_number(socket, libc::SOL_PACKET, libc::PACKET_COPY_THRESH, least)
}
