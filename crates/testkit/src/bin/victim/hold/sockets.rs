//! Victims whose memory is in no counter: full pipes, sockets that nobody reads, packet rings.

use super::{Held, Part, corrupt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What waits to be read in many pipes or sockets.
#[derive(Default)]
struct Queued {
    ends: Vec<Ends>,
    bytes: u64,
}

struct Ends {
    reader: OwnedFd,
    _writer: OwnedFd,
    /// What the reader must still find.
    queued: u64,
}

impl Held for Queued {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn verify(&self) -> io::Result<()> {
        for end in &self.ends {
            if rustix::io::ioctl_fionread(&end.reader)? != end.queued {
                return Err(corrupt("a queue"));
            }
        }
        Ok(())
    }
}

/// 4000 pipes, each filled to its 64 KiB.
pub(crate) fn pipes(part: Part) -> io::Result<Box<dyn Held>> {
    allow_descriptors(9000)?;
    let mut held = Queued::default();
    let block = vec![1; 64 << 10];
    for _ in 0..part.of(4000) {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK)?;
        let queued = rustix::io::write(&writer, &block)? as u64;
        held.bytes += queued;
        held.ends.push(Ends {
            reader,
            _writer: writer,
            queued,
        });
    }
    Ok(Box::new(held))
}

/// 1000 pairs of UNIX sockets with 1 MiB queued in each, written 64 KiB at a time.
///
/// Of each such write the kernel puts 60 KiB into pages of their own, and the rest into heads
/// (`unix_stream_sendmsg`: at most 32 KiB beyond a head of one page in each buffer).
pub(crate) fn unix_pairs(part: Part) -> io::Result<Box<dyn Held>> {
    const WRITES: u64 = 16;
    const RAW_BYTES_OF_A_WRITE: u64 = 60 << 10;
    allow_descriptors(3000)?;
    let mut held = Queued::default();
    let block = vec![1; 64 << 10];
    for _ in 0..part.of(1000) {
        let (reader, mut writer) = UnixStream::pair()?;
        sockopt::set_socket_send_buffer_size_force(writer.as_fd(), 2 << 20)?;
        writer.set_nonblocking(true)?;
        for _ in 0..WRITES {
            writer.write_all(&block)?;
        }
        held.bytes += WRITES * RAW_BYTES_OF_A_WRITE;
        held.ends.push(Ends {
            reader: reader.into(),
            _writer: writer.into(),
            queued: WRITES * block.len() as u64,
        });
    }
    Ok(Box::new(held))
}

/// Sockets through which nothing goes.
struct Idle(Vec<(UnixStream, UnixStream)>);

/// `struct unix_sock` on 64-bit kernels is a little more; inode, open file and name are besides.
const UNIX_SOCK_BYTES: u64 = 1024;

impl Held for Idle {
    fn bytes(&self) -> u64 {
        self.0.len() as u64 * 2 * UNIX_SOCK_BYTES
    }
}

/// 40,000 UNIX sockets in pairs: objects of the kernel's, and no page of data.
pub(crate) fn idle_sockets(part: Part) -> io::Result<Box<dyn Held>> {
    let pairs = part.of(20_000);
    allow_descriptors(u64::from(pairs) * 2 + 100)?;
    let pairs = (0..pairs).map(|_| UnixStream::pair());
    Ok(Box::new(Idle(pairs.collect::<io::Result<_>>()?)))
}

/// 200 TCP connections over loopback with 1 MiB in each that nobody reads, written 64 KiB at a time.
///
/// All of it is in fragments of pages, but for heads that are a hundredth of it (`tcp_sendmsg_locked`).
/// Where `net.ipv4.tcp_mem` does not let so much in, this waits until it is killed.
pub(crate) fn tcp_pairs(part: Part) -> io::Result<Box<dyn Held>> {
    const WRITES: u64 = 16;
    allow_descriptors(1000)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Connections inherit it, and take in all that is sent.
    sockopt::set_socket_recv_buffer_size_force(&listener, 4 << 20)?;
    let mut held = Queued::default();
    let block = vec![1; 64 << 10];
    for _ in 0..part.of(200) {
        let mut writer = TcpStream::connect(listener.local_addr()?)?;
        let (reader, _) = listener.accept()?;
        sockopt::set_socket_send_buffer_size_force(&writer, 2 << 20)?;
        for _ in 0..WRITES {
            writer.write_all(&block)?;
        }
        let queued = WRITES * block.len() as u64;
        while rustix::io::ioctl_fionread(&reader)? < queued {
            std::thread::sleep(Duration::from_millis(1));
        }
        held.bytes += queued;
        held.ends.push(Ends {
            reader: reader.into(),
            _writer: writer.into(),
            queued,
        });
    }
    Ok(Box::new(held))
}

struct Ring {
    bytes: u64,
    _socket: OwnedFd,
}

impl Held for Ring {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A packet socket with a receive ring of 256 MiB, bound to no protocol: nothing arrives.
pub(crate) fn packet_ring(part: Part) -> io::Result<Box<dyn Held>> {
    let (block_bytes, blocks) = (1 << 20, part.of(256));
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    plimsoll_sys::packet::set_receive_ring(socket.as_fd(), block_bytes, blocks)?;
    Ok(Box::new(Ring {
        bytes: u64::from(block_bytes) * u64::from(blocks),
        _socket: socket,
    }))
}

/// Raises the limit of open descriptors, as far as that is allowed.
pub(super) fn allow_descriptors(wanted: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum,
            },
        )?;
    }
    Ok(())
}
