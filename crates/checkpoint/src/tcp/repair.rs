//! `TCP_REPAIR`: what a socket in this mode tells and takes. Turning it off without a probe of the peer's window
//! (`TCP_REPAIR_OFF_NO_WP`) is there since 4.19.

use plimsoll_sys::socket::{number, option, set_number, set_option};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

const LEVEL: i32 = libc::IPPROTO_TCP;

/// A socket in repair. It leaves the mode silently when this goes, with `SO_REUSEADDR` as it was, which the mode changes.
#[derive(Debug)]
pub(crate) struct Repair<'s> {
    socket: BorrowedFd<'s>,
    reuse_address: i32,
}

impl<'s> Repair<'s> {
    /// Takes a socket into repair.
    pub(crate) fn begin(socket: &'s impl AsFd) -> Result<Self, Errno> {
        let socket = socket.as_fd();
        let reuse_address = number(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
        turn_on(socket)?;
        Ok(Self {
            socket,
            reuse_address,
        })
    }
}

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        let _ = turn_off_silently(self.socket);
        let reuse = self.reuse_address;
        let _ = set_number(self.socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, reuse);
    }
}

/// Takes a socket into repair until [`turn_off`], or for good: closed in it, it is gone without a packet.
pub(crate) fn turn_on(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_number(socket, LEVEL, libc::TCP_REPAIR, 1)
}

/// Ends repair. The peer is asked for its window, so that whatever waits begins to move.
pub(crate) fn turn_off(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_number(socket, LEVEL, libc::TCP_REPAIR, 0)
}

/// Ends repair, and tells nobody, where the kernel can (4.19).
pub(crate) fn turn_off_silently(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    const WITHOUT_PROBE: i32 = -1;
    match set_number(socket, LEVEL, libc::TCP_REPAIR, WITHOUT_PROBE) {
        Err(Errno::INVAL) => turn_off(socket),
        done => done,
    }
}

/// Which queue is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    None = 0,
    Receive = 1,
    Send = 2,
}

/// Selects the queue that sequence numbers and data belong to.
pub(crate) fn select(socket: BorrowedFd<'_>, queue: Queue) -> Result<(), Errno> {
    set_number(socket, LEVEL, libc::TCP_REPAIR_QUEUE, queue as i32)
}

/// The sequence number behind the last byte of the selected queue.
pub(crate) fn sequence(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    number(socket, LEVEL, libc::TCP_QUEUE_SEQ).map(i32::cast_unsigned)
}

/// Sets it, for an empty queue of a socket that is not connected yet.
pub(crate) fn set_sequence(
    socket: BorrowedFd<'_>,
    queue: Queue,
    sequence: u32,
) -> Result<(), Errno> {
    select(socket, queue)?;
    set_number(socket, LEVEL, libc::TCP_QUEUE_SEQ, sequence.cast_signed())
}

/// `struct tcp_repair_window`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) snd_wl1: u32,
    pub(crate) snd_wnd: u32,
    pub(crate) max_window: u32,
    pub(crate) rcv_wnd: u32,
    pub(crate) rcv_wup: u32,
}

pub(crate) fn window(socket: BorrowedFd<'_>) -> Result<Window, Errno> {
    let bytes = option(socket, LEVEL, libc::TCP_REPAIR_WINDOW, size_of::<Window>())?;
    let (words, _) = bytes.as_chunks::<4>();
    let word = |i: usize| words.get(i).map_or(0, |word| u32::from_ne_bytes(*word));
    Ok(Window {
        snd_wl1: word(0),
        snd_wnd: word(1),
        max_window: word(2),
        rcv_wnd: word(3),
        rcv_wup: word(4),
    })
}

pub(crate) fn set_window(socket: BorrowedFd<'_>, window: Window) -> Result<(), Errno> {
    let words = [
        window.snd_wl1,
        window.snd_wnd,
        window.max_window,
        window.rcv_wnd,
        window.rcv_wup,
    ];
    let bytes = words.map(u32::to_ne_bytes).concat();
    set_option(socket, LEVEL, libc::TCP_REPAIR_WINDOW, &bytes)
}

/// What both ends agreed on when they connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) mss_clamp: u32,
    /// Ours to send, and theirs.
    pub(crate) window_scale: Option<(u32, u32)>,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
}

/// Sets it, for a socket that is connected.
pub(crate) fn agree(socket: BorrowedFd<'_>, agreed: &Agreed) -> Result<(), Errno> {
    // TCPOPT_*, `struct tcp_repair_opt`: what, and its value.
    const MSS: u32 = 2;
    const WINDOW: u32 = 3;
    const SACK_PERMITTED: u32 = 4;
    const TIMESTAMP: u32 = 8;
    let mut options = vec![[MSS, agreed.mss_clamp]];
    if let Some((send, receive)) = agreed.window_scale {
        options.push([WINDOW, send | receive << 16]);
    }
    if agreed.sack {
        options.push([SACK_PERMITTED, 0]);
    }
    if agreed.timestamps {
        options.push([TIMESTAMP, 0]);
    }
    let bytes: Vec<u8> = options
        .into_iter()
        .flatten()
        .flat_map(u32::to_ne_bytes)
        .collect();
    set_option(socket, LEVEL, libc::TCP_REPAIR_OPTIONS, &bytes)
}

/// The beginning of `struct tcp_info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) state: u32,
    /// `TCPI_OPT_*`.
    pub(crate) options: u32,
    pub(crate) send_scale: u32,
    pub(crate) receive_scale: u32,
    /// Of a listener: connections that wait to be accepted, and how many may.
    pub(crate) waiting: u32,
    pub(crate) backlog: u32,
}

impl Info {
    pub(crate) const TIMESTAMPS: u32 = 1;
    pub(crate) const SACK: u32 = 2;
    pub(crate) const WINDOW_SCALE: u32 = 4;

    pub(crate) fn of(socket: impl AsFd) -> Result<Self, Errno> {
        let bytes = option(socket, LEVEL, libc::TCP_INFO, 32)?;
        let byte = |i: usize| bytes.get(i).copied().map_or(0, u32::from);
        let (words, _) = bytes.as_chunks::<4>();
        let word = |i: usize| words.get(i).map_or(0, |word| u32::from_ne_bytes(*word));
        Ok(Self {
            state: byte(0),
            options: byte(5),
            send_scale: byte(6) & 0xf,
            receive_scale: byte(6) >> 4,
            waiting: word(6),
            backlog: word(7),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::state::{ESTABLISHED, LISTEN};
    use plimsoll_testkit::need;

    #[test]
    fn a_socket_tells_in_repair_and_goes_on_as_it_was() {
        need!(Root);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(Info::of(&listener).unwrap().state, LISTEN);
        assert_eq!(Info::of(&listener).unwrap().waiting, 1);
        let (server, _) = listener.accept().unwrap();
        let reuse = || number(&server, libc::SOL_SOCKET, libc::SO_REUSEADDR);
        let before = reuse();
        assert!(sequence(server.as_fd()).is_err(), "not in repair yet");
        {
            let _one = Repair::begin(&server).unwrap();
            let _other = Repair::begin(&client).unwrap();
            select(server.as_fd(), Queue::Receive).unwrap();
            select(client.as_fd(), Queue::Send).unwrap();
            assert_eq!(sequence(server.as_fd()), sequence(client.as_fd()));
            assert!(window(server.as_fd()).unwrap().rcv_wnd > 0);
        }
        assert_eq!(reuse(), before);
        assert_eq!(Info::of(&server).unwrap().state, ESTABLISHED);
        std::io::Write::write_all(&mut &client, b"on").unwrap();
        let mut two = [0; 2];
        std::io::Read::read_exact(&mut &server, &mut two).unwrap();
        assert_eq!(&two, b"on");
    }
}
