//! Dumps over netlink: a request out, messages in, as `netlink(7)` frames them.
//!
//! The kernel answers, but what comes in is still parsed like a stranger's: every length is checked against what
//! is left, and a message that does not fit ends the dump with an error.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
const HEADER: usize = 16;
/// The kernel fills at most this much at a time (`NLMSG_GOODSIZE` grown to what the reader offers).
const BUFFER: usize = 32 << 10;

/// A `sock_diag(7)` socket, bound to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl SockDiag {
    /// Opens one.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        Ok(Self {
            socket: socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends one request and visits the payload of each message of the answer.
    ///
    /// # Errors
    /// The kernel's own (`ENOENT` where it lacks the family); `EBADMSG` for what is no netlink message.
    pub fn dump(&mut self, request: &[u8], mut visit: impl FnMut(&[u8])) -> Result<(), Errno> {
        send(&self.socket, &frame(request)?, SendFlags::empty())?;
        loop {
            let (got, length) = recv(&self.socket, &mut *self.buffer, RecvFlags::TRUNC)?;
            if got != length {
                return Err(Errno::MSGSIZE);
            }
            if visit_all(self.buffer.get(..got).unwrap_or_default(), &mut visit)? {
                return Ok(());
            }
        }
    }
}

/// Visits the payloads of what came in at once; says whether that was the end of the dump.
pub(super) fn visit_all(mut rest: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool, Errno> {
    while !rest.is_empty() {
        let (message, behind) = Message::parse(rest).ok_or(Errno::BADMSG)?;
        match message.kind {
            NLMSG_DONE => return status(message.payload).map(|()| true),
            NLMSG_ERROR => return status(message.payload).and(Err(Errno::BADMSG)),
            _ => visit(message.payload),
        }
        rest = behind;
    }
    Ok(false)
}

/// The error that a message reports, as a negative errno in its first word; 0 and none are no error.
fn status(payload: &[u8]) -> Result<(), Errno> {
    let code = payload
        .first_chunk()
        .map_or(0, |word| i32::from_ne_bytes(*word));
    match code.checked_neg() {
        Some(errno) if errno > 0 => Err(Errno::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

fn frame(payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let length = u32::try_from(HEADER.saturating_add(payload.len())).map_err(|_| Errno::MSGSIZE)?;
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: one dump at a time
    message.extend(payload);
    Ok(message)
}

/// One message: its type, and what follows the header.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message in `bytes`, and what comes behind it.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16_at(bytes, 4)?;
        let payload = bytes.get(HEADER..length)?;
        let behind = bytes.get(aligned(length)?..).unwrap_or_default();
        Some((Self { kind, payload }, behind))
    }
}

/// The attributes behind a message's fixed part: type and value each. What does not fit ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const ATTRIBUTE_HEADER: usize = 4;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(aligned(length)?..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Netlink pads to four bytes.
fn aligned(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*word))
}

/// The word at an offset, in this machine's order.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_framed_message_is_read_back() {
        let framed = frame(b"request").unwrap();
        let (message, behind) = Message::parse(&framed).unwrap();
        assert_eq!((message.kind, message.payload), (20, &b"request"[..]));
        assert_eq!(behind, b"");
    }

    #[test]
    fn lengths_that_lie_end_the_parse() {
        let mut framed = frame(b"").unwrap();
        framed[0] = 17; // one byte more than there is
        assert_eq!(Message::parse(&framed), None);
        framed[0] = 15; // less than a header
        assert_eq!(Message::parse(&framed), None);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0, 0, 0, 2, 0]).count(), 1);
    }

    #[test]
    fn errors_are_negative_errnos() {
        assert_eq!(status(&(-2i32).to_ne_bytes()), Err(Errno::NOENT));
        assert_eq!(status(&0i32.to_ne_bytes()), Ok(()));
        assert_eq!(status(&i32::MIN.to_ne_bytes()), Ok(()));
        assert_eq!(status(b""), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = &bytes[..];
            while let Some((_, behind)) = Message::parse(rest) {
                rest = behind;
            }
            let _ = attributes(&bytes).count();
        }
    }
}
