//! Packet sockets (`packet(7)`): what they tell themselves, and the rest from `sock_diag(7)` (`linux/packet_diag.h`).

use super::{Files, Open, entry};
use crate::error::Error;
use crate::{packet_options, socket_options};
use plimsoll_image::proto::{FdTypes, FileEntry, PacketMclist, PacketRing, PacketSockEntry};
use plimsoll_proc::found::sockets::netlink::{SockDiag, attributes, u32_at};
use plimsoll_sys::socket::number;
use rustix::fd::AsFd;
use rustix::io::Errno;

/// An open packet socket.
pub(super) fn socket(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let failed = |errno: Errno| open.failed("look into the socket", errno);
    let socket = open.file.as_fd();
    let ino = u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0);
    let told = ask(ino).map_err(failed)?;
    let protocol = number(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL).map_err(failed)?;
    let mut this = PacketSockEntry {
        id,
        r#type: number(socket, libc::SOL_SOCKET, libc::SO_TYPE)
            .map_err(failed)?
            .cast_unsigned(),
        protocol: told.protocol.unwrap_or(protocol.cast_unsigned()),
        flags: open.flags(),
        ifindex: told.interface,
        copy_thresh: told.copy_thresh,
        fown: open.owner()?,
        opts: socket_options::read(socket).map_err(failed)?,
        mclist: told.members,
        fanout: told.fanout,
        rx_ring: told.receive_ring,
        tx_ring: told.send_ring,
        ns_id: Some(2),
        ..PacketSockEntry::default()
    };
    packet_options::read(socket, &mut this).map_err(failed)?;
    Ok(FileEntry {
        psk: Some(this),
        ..entry(FdTypes::Packetsk, id)
    })
}

/// What only the kernel's list tells.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// In the order of the network, as `socket(2)` takes it.
    protocol: Option<u32>,
    interface: u32,
    copy_thresh: u32,
    members: Vec<PacketMclist>,
    receive_ring: Option<PacketRing>,
    send_ring: Option<PacketRing>,
    fanout: Option<u32>,
}

fn ask(ino: u32) -> Result<Told, Errno> {
    let mut told = None;
    SockDiag::open()?.dump(&request(), |answer| {
        if u32_at(answer, 4) == Some(ino) {
            told = read(answer);
        }
    })?;
    told.ok_or(Errno::NOENT)
}

/// `struct packet_diag_req`: family, protocol, padding, inode, what to show, cookie.
fn request() -> Vec<u8> {
    const INFO_MCLIST_RINGS_FANOUT: u32 = 1 | 2 | 4 | 8;
    let family = u8::try_from(libc::AF_PACKET).unwrap_or(0);
    let mut request = vec![family, 0, 0, 0];
    for word in [0, INFO_MCLIST_RINGS_FANOUT, 0, 0] {
        request.extend(word.to_ne_bytes());
    }
    request
}

/// `struct packet_diag_msg`: family, type, protocol, inode, cookie; then attributes.
fn read(answer: &[u8]) -> Option<Told> {
    let protocol = u16::from_ne_bytes(*answer.get(2..)?.first_chunk()?);
    let mut told = Told {
        protocol: Some(protocol.to_be().into()),
        ..Told::default()
    };
    for (kind, value) in attributes(answer.get(16..)?) {
        match kind {
            0 => {
                told.interface = u32_at(value, 0)?;
                told.copy_thresh = u32_at(value, 12)?;
            }
            1 => told.members = value.chunks_exact(44).filter_map(member).collect(),
            2 => told.receive_ring = ring(value),
            3 => told.send_ring = ring(value),
            4 => told.fanout = u32_at(value, 0),
            _ => {}
        }
    }
    Some(told)
}

/// `struct packet_diag_mclist`: interface, how often, type, length of the address, address.
fn member(bytes: &[u8]) -> Option<PacketMclist> {
    let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = usize::from(half(10)?);
    Some(PacketMclist {
        index: u32_at(bytes, 0)?,
        r#type: half(8)?.into(),
        addr: bytes.get(12..)?.get(..length)?.to_vec(),
    })
}

/// `struct packet_diag_ring`.
fn ring(bytes: &[u8]) -> Option<PacketRing> {
    let word = |place: usize| u32_at(bytes, place * 4);
    Some(PacketRing {
        block_size: word(0)?,
        block_nr: word(1)?,
        frame_size: word(2)?,
        frame_nr: word(3)?,
        retire_tmo: word(4)?,
        sizeof_priv: word(5)?,
        features: word(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let attribute = |kind: u16, words: &[u32]| {
            let length = u16::try_from(4 + words.len() * 4).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
            bytes
        };
        let mut answer = vec![17, 3];
        answer.extend(3u16.to_ne_bytes());
        answer.extend([0; 12]);
        answer.extend(attribute(0, &[2, 0, 0, 77, 0, 1]));
        answer.extend(attribute(2, &[4096, 1, 1024, 4, 0, 0, 0]));
        let mut mclist = vec![2, 1, u32::from_ne_bytes([1, 0, 0, 0])];
        mclist.resize(11, 0);
        answer.extend(attribute(1, &mclist));
        let told = read(&answer).unwrap();
        assert_eq!(told.protocol, Some(u32::from(3u16.to_be())));
        assert_eq!((told.interface, told.copy_thresh), (2, 77));
        assert_eq!(told.receive_ring.map(|ring| ring.frame_nr), Some(4));
        assert_eq!(told.members.first().map(|member| member.r#type), Some(1));
        assert_eq!(read(&answer[..3]), None);
    }
}
