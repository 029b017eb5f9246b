//! What is left of connections that were closed first from here: for a minute they keep their port, `TIME-WAIT`
//! (RFC 9293, section 3.6.1), and nobody binds it but who asked for `SO_REUSEADDR` then. A listener that comes back wants it
//! at once, so they are ended by `SOCK_DESTROY` (`sock_diag(7)`), as `ss --kill` does, where the kernel has that for them.

use plimsoll_proc::found::sockets::netlink::SockDiag;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
type Id = [u8; 48];

/// Ends all on a port of ours.
pub(crate) fn end_all(port: u16) -> Result<(), Errno> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).map_err(|_| Errno::AFNOSUPPORT)?;
        for id in on_port(family, port)? {
            match destroy(family, &id) {
                Err(Errno::NOENT) => {} // its minute was over
                ended => ended?,
            }
        }
    }
    Ok(())
}

fn on_port(family: u8, port: u16) -> Result<Vec<Id>, Errno> {
    let mut ids = Vec::new();
    SockDiag::open()?.dump(&request(family, &[0; 48]), |answer| {
        // `struct inet_diag_msg`: family, state, timer, retransmissions, id.
        let id: Option<&Id> = answer.get(4..).and_then(<[u8]>::first_chunk);
        ids.extend(id.filter(|id| id.starts_with(&port.to_be_bytes())));
    })?;
    Ok(ids)
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, id.
fn request(family: u8, id: &Id) -> Vec<u8> {
    const TCP: u8 = 6;
    const TIME_WAIT: u32 = 6;
    let states = 1u32 << TIME_WAIT;
    [&[family, TCP, 0, 0], &states.to_ne_bytes()[..], id].concat()
}

fn destroy(family: u8, id: &Id) -> Result<(), Errno> {
    const SOCK_DESTROY: u16 = 21;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const HEADER: usize = 16;
    let request = request(family, id);
    let length = u32::try_from(HEADER + request.len()).map_err(|_| Errno::MSGSIZE)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]); // sequence number, port
    message.extend(request);
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::SOCK_DIAG);
    let diag = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    send(&diag, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    recv(&diag, &mut answer, RecvFlags::empty())?;
    let code = answer.get(HEADER..).and_then(<[u8]>::first_chunk);
    match code.map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_testkit::{apart, need};
    use rustix::net::{bind, listen};
    use std::io::Read;
    use std::net::{SocketAddr, TcpStream};

    fn listener(at: SocketAddr) -> Result<std::net::TcpListener, Errno> {
        // The standard library's asks for `SO_REUSEADDR`.
        let family = match at {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &at)?;
        listen(&socket, 1)?;
        Ok(socket.into())
    }

    #[test]
    fn a_port_is_free_again() {
        need!(Root);
        apart!();
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let first = listener(any.parse().unwrap()).unwrap();
            let at = first.local_addr().unwrap();
            let mut client = TcpStream::connect(at).unwrap();
            drop(first.accept().unwrap()); // closed first from the listener's side
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            drop((client, first));
            assert_eq!(listener(at).unwrap_err(), Errno::ADDRINUSE);
            end_all(at.port()).unwrap();
            listener(at).unwrap();
        }
    }
}
