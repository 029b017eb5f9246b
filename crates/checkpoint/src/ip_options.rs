//! Options of IP sockets (`ip(7)`, `ipv6(7)`, `raw(7)`) and of TCP ones (`tcp(7)`), both ways. Each row is an option and its
//! field in the images.

use plimsoll_image::proto::{IpOptsEntry, IpOptsRawEntry, TcpOptsEntry};
use plimsoll_sys::socket::{number, option, set_number, set_option};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What decides which options a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) family: i32,
    /// `SOCK_*`
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
}

const V4: i32 = libc::IPPROTO_IP;
const V6: i32 = libc::IPPROTO_IPV6;

type Field<E, T> = fn(&mut E) -> &mut Option<T>;
type Row<E, T> = (i32, i32, Field<E, T>);

/// Options that are on or off, by their level.
const SWITCHES: [Row<IpOptsEntry, bool>; 4] = [
    (V4, libc::IP_FREEBIND, |o| &mut o.freebind),
    (V4, libc::IP_PKTINFO, |o| &mut o.pktinfo),
    (V6, libc::IPV6_FREEBIND, |o| &mut o.freebind),
    (V6, libc::IPV6_RECVPKTINFO, |o| &mut o.pktinfo),
];

/// Options that are numbers.
const NUMBERS: [Row<IpOptsEntry, u32>; 2] = [
    (V4, libc::IP_TOS, |o| &mut o.tos),
    (V4, libc::IP_TTL, |o| &mut o.ttl),
];

/// Options of raw sockets.
const RAW_SWITCHES: [Row<IpOptsRawEntry, bool>; 3] = [
    (V4, libc::IP_HDRINCL, |o| &mut o.hdrincl),
    (V4, libc::IP_NODEFRAG, |o| &mut o.nodefrag),
    (V6, libc::IPV6_HDRINCL, |o| &mut o.hdrincl),
];

const TCP: i32 = libc::IPPROTO_TCP;

const TCP_SWITCHES: [Row<TcpOptsEntry, bool>; 2] = [
    (TCP, libc::TCP_NODELAY, |o| &mut o.nodelay),
    (TCP, libc::TCP_CORK, |o| &mut o.cork),
];

const TCP_NUMBERS: [Row<TcpOptsEntry, u32>; 3] = [
    (TCP, libc::TCP_KEEPCNT, |o| &mut o.keepcnt),
    (TCP, libc::TCP_KEEPIDLE, |o| &mut o.keepidle),
    (TCP, libc::TCP_KEEPINTVL, |o| &mut o.keepintvl),
];

impl Kind {
    fn level(self) -> i32 {
        if self.family == libc::AF_INET6 {
            V6
        } else {
            V4
        }
    }

    /// The filter of ICMP messages: level, name and length.
    fn icmp_filter(self) -> Option<(i32, i32, usize)> {
        const SOL_RAW: i32 = 255;
        const ICMP_FILTER: i32 = 1;
        const ICMPV6_FILTER: i32 = 1;
        match (self.family, self.protocol) {
            (libc::AF_INET, libc::IPPROTO_ICMP) => Some((SOL_RAW, ICMP_FILTER, 4)),
            (libc::AF_INET6, libc::IPPROTO_ICMPV6) => {
                Some((libc::IPPROTO_ICMPV6, ICMPV6_FILTER, 32))
            }
            _ => None,
        }
    }

    fn is_raw(self) -> bool {
        self.kind == libc::SOCK_RAW
    }
}

/// The options of an IP socket.
pub(crate) fn read(socket: BorrowedFd<'_>, kind: Kind) -> Result<IpOptsEntry, Errno> {
    let mut all = IpOptsEntry::default();
    read_switches(socket, kind.level(), &SWITCHES, &mut all)?;
    read_numbers(socket, kind.level(), &NUMBERS, &mut all)?;
    all.freebind = all.freebind.filter(|on| *on); // as CRIU has it
    if kind.is_raw() {
        let mut raw = IpOptsRawEntry::default();
        read_switches(socket, kind.level(), &RAW_SWITCHES, &mut raw)?;
        if let Some((level, name, length)) = kind.icmp_filter() {
            let filter = option(socket, level, name, length)?;
            let (words, _) = filter.as_chunks::<4>();
            raw.icmpv_filter = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        }
        all.raw = Some(raw);
    }
    Ok(all)
}

/// Gives an IP socket its options.
pub(crate) fn write(socket: BorrowedFd<'_>, kind: Kind, wanted: &IpOptsEntry) -> Result<(), Errno> {
    let mut all = wanted.clone();
    write_switches(socket, kind.level(), &SWITCHES, &mut all)?;
    write_numbers(socket, kind.level(), &NUMBERS, &mut all)?;
    let Some(mut raw) = all.raw.filter(|_| kind.is_raw()) else {
        return Ok(());
    };
    write_switches(socket, kind.level(), &RAW_SWITCHES, &mut raw)?;
    match kind.icmp_filter().filter(|_| !raw.icmpv_filter.is_empty()) {
        None => Ok(()),
        Some((level, name, _)) => {
            let words = raw.icmpv_filter.iter();
            let filter: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
            set_option(socket, level, name, &filter)
        }
    }
}

/// The options of a TCP socket.
pub(crate) fn read_tcp(socket: BorrowedFd<'_>) -> Result<TcpOptsEntry, Errno> {
    let mut all = TcpOptsEntry::default();
    read_switches(socket, TCP, &TCP_SWITCHES, &mut all)?;
    read_numbers(socket, TCP, &TCP_NUMBERS, &mut all)?;
    Ok(all)
}

/// Gives a TCP socket its options.
pub(crate) fn write_tcp(socket: BorrowedFd<'_>, wanted: &TcpOptsEntry) -> Result<(), Errno> {
    let mut all = *wanted;
    write_switches(socket, TCP, &TCP_SWITCHES, &mut all)?;
    write_numbers(socket, TCP, &TCP_NUMBERS, &mut all)
}

fn read_switches<E>(
    socket: BorrowedFd<'_>,
    level: i32,
    rows: &[Row<E, bool>],
    all: &mut E,
) -> Result<(), Errno> {
    for (_, name, field) in rows.iter().filter(|(of, ..)| *of == level) {
        *field(all) = Some(number(socket, level, *name)? != 0);
    }
    Ok(())
}

fn read_numbers<E>(
    socket: BorrowedFd<'_>,
    level: i32,
    rows: &[Row<E, u32>],
    all: &mut E,
) -> Result<(), Errno> {
    for (_, name, field) in rows.iter().filter(|(of, ..)| *of == level) {
        *field(all) = Some(number(socket, level, *name)?.cast_unsigned());
    }
    Ok(())
}

fn write_switches<E>(
    socket: BorrowedFd<'_>,
    level: i32,
    rows: &[Row<E, bool>],
    all: &mut E,
) -> Result<(), Errno> {
    for (_, name, field) in rows.iter().filter(|(of, ..)| *of == level) {
        if let Some(value) = *field(all) {
            set_number(socket, level, *name, i32::from(value))?;
        }
    }
    Ok(())
}

fn write_numbers<E>(
    socket: BorrowedFd<'_>,
    level: i32,
    rows: &[Row<E, u32>],
    all: &mut E,
) -> Result<(), Errno> {
    for (_, name, field) in rows.iter().filter(|(of, ..)| *of == level) {
        if let Some(value) = *field(all) {
            set_number(socket, level, *name, value.cast_signed())?;
        }
    }
    Ok(())
}
