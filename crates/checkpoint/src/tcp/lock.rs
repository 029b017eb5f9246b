//! No packet of a connection passes while nobody is there to answer it: a peer that hears nothing tries again, one that is
//! told of no such connection gives up.
//!
//! While we are at work the lock is ours alone and goes when we do. Only when the tree has ended and the set is complete, one
//! is made that lasts until the restore.

use super::MARK;
use super::nftables::{Life, add_connection, delete_table, make_table};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::SocketAddr;

/// Connections of which no packet passes, as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    netfilter: Netfilter,
    table: String,
}

impl Lock {
    /// Locks nothing yet.
    ///
    /// # Errors
    /// What stands in the way of nftables: `EPERM`, or `EPROTONOSUPPORT` and its like where the kernel has none.
    pub(crate) fn begin() -> Result<Self, Errno> {
        let mut netfilter = Netfilter::open()?;
        let table = format!("plimsoll-{}", new_run_id());
        netfilter.transact(&make_table(&table, Life::Owned, MARK))?;
        Ok(Self { netfilter, table })
    }

    /// Locks one connection more.
    pub(crate) fn add(&mut self, one: SocketAddr, other: SocketAddr) -> Result<(), Errno> {
        let (one, other) = (plain(one), plain(other));
        self.netfilter
            .transact(&add_connection(&self.table, one, other))
    }
}

/// Locks connections until [`lift`], whatever becomes of us. `run` names the lock.
pub(crate) fn leave(run: &str, connections: &[(SocketAddr, SocketAddr)]) -> Result<(), Errno> {
    let mut netfilter = Netfilter::open()?;
    let table = table(run);
    netfilter.transact(&make_table(&table, Life::Lasting, MARK))?;
    let mut all = connections.iter();
    let added = all.try_for_each(|(one, other)| {
        netfilter.transact(&add_connection(&table, plain(*one), plain(*other)))
    });
    if added.is_err() {
        let _ = netfilter.transact(&delete_table(&table));
    }
    added
}

/// Lifts a lock that was left. One that is not there, as after a restart of the host, is what is wanted.
pub(crate) fn lift(run: &str) -> Result<(), Errno> {
    let deleted = Netfilter::open().and_then(|mut n| n.transact(&delete_table(&table(run))));
    match deleted {
        Err(Errno::NOENT | Errno::PROTONOSUPPORT) => Ok(()),
        deleted => deleted,
    }
}

/// How connections are locked, in the inventory's numbers.
pub(crate) const NFTABLES: u32 = 1;
pub(crate) const SKIP: u32 = 2;

/// A name that no other checkpoint has: the kernel's random UUID.
pub(crate) fn new_run_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    id.trim().to_owned()
}

/// CRIU's name for the lock of a run, as far as it has room for it.
fn table(run: &str) -> String {
    const CRIUS_ROOM: usize = 26;
    format!("CRIU-{run}").chars().take(CRIUS_ROOM).collect()
}

/// IPv4 in IPv6 clothes is IPv4 on the wire.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[derive(Debug)]
struct Netfilter(OwnedFd);

impl Netfilter {
    fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::NETFILTER);
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).map(Self)
    }

    /// All of a batch, or nothing. The kernel has answered every message by the time it has taken the batch.
    fn transact(&mut self, batch: &[u8]) -> Result<(), Errno> {
        const HEADER: usize = 16;
        const ERROR: [u8; 2] = 2u16.to_ne_bytes();
        send(&self.0, batch, SendFlags::empty())?;
        let mut done = Err(Errno::IO); // until it answers
        let mut answer = [0; 8 << 10];
        loop {
            let (got, _) = match recv(&self.0, &mut answer, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return done,
                answer => answer?,
            };
            let mut rest = answer.get(..got).unwrap_or_default();
            while let Some(length) = rest.first_chunk() {
                let length = (u32::from_ne_bytes(*length) as usize).max(HEADER);
                let code = rest.get(HEADER..).and_then(<[u8]>::first_chunk);
                if let Some(code) = code.filter(|_| rest.get(4..6) == Some(&ERROR)) {
                    match i32::from_ne_bytes(*code).checked_neg() {
                        Some(0) if done == Err(Errno::IO) => done = Ok(()),
                        Some(errno) if errno > 0 => {
                            done = Err(Errno::from_raw_os_error(errno));
                        }
                        _ => {}
                    }
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_testkit::need;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn a_locked_connection_waits_and_loses_nothing() {
        need!(Root, Nftables);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let mut lock = Lock::begin().unwrap();
            lock.add(ends.0, ends.1).unwrap();
            client.write_all(b"late").unwrap();
            server
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            let mut four = [0; 4];
            assert!(server.read_exact(&mut four).is_err(), "it is locked");
            drop(lock);
            server.set_read_timeout(None).unwrap();
            server.read_exact(&mut four).unwrap();
            assert_eq!(&four, b"late");
        }
    }

    #[test]
    fn a_lock_has_the_name_that_criu_gives_it() {
        let run = "3063c774-fc55-4714-9f2b-d26c5ad3a0f1";
        assert_eq!(table(run), "CRIU-3063c774-fc55-4714-9f");
    }

    #[test]
    fn a_lock_that_is_left_lasts_until_it_is_lifted() {
        need!(Root, Nftables);
        let run = format!("test-{}", std::process::id());
        let ends = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        leave(&run, &[ends]).unwrap();
        assert_eq!(leave(&run, &[ends]), Err(Errno::EXIST));
        lift(&run).unwrap();
        lift(&run).unwrap();
    }
}
