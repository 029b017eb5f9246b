//! Which raw pages sockets hold: the truesize charged to them, without what the slab counts already.
//!
//! A `struct sk_buff` comes from `skbuff_head_cache`, the start of its data from `skbuff_small_head` (since Linux
//! 6.3) or a kmalloc, and only what is longer from pages of its own (`__alloc_skb`, `sock_alloc_send_pskb`). The
//! kernel charges all three together. So each family's truesize is cut by what its buffers can have taken of those
//! caches, as `/proc/slabinfo` shows them at the same time:
//!
//! - UNIX streams: heads of at most a page, from `kmalloc-cg-*`, one for each sk_buff.
//! - UNIX datagrams: heads of up to 16 KiB, from what is left of those caches and from large kmallocs.
//! - TCP: small heads.
//! - UDP, netlink, packet: small heads, and heads of up to 16 KiB from any kmalloc.
//!
//! What may be either is taken for slab: then the pages stay `unattributed`, rather than counted twice. How
//! close this comes is in `docs/design/003-what-sockets-and-pipes-hold.md`.

use super::skb_slab::{Heads, SkbSlab};
use super::{named, outside};
use crate::host::Outside;
use crate::look::Unseen;
use plimsoll_proc::found::{Found, SocketFamily};
use plimsoll_proc::host::HostSample;
use plimsoll_units::{Bytes, PageSize};

/// The owner of raw pages in socket buffers.
pub(super) fn buffers(found: &Found, sample: &HostSample<'_>) -> Option<Outside> {
    let slab = SkbSlab::of(sample)?.without_pipes(found.pipes.count);
    let raw = raw_pages(found, slab, sample.page).into_iter();
    let parts = raw.map(|(family, bytes)| (name_of(family).to_owned(), bytes));
    outside("socket_buffers", named(parts))
}

/// Without slabinfo, which only root reads, nothing can be said.
pub(super) fn unseen(found: &Found, sample: &HostSample<'_>) -> Option<Unseen> {
    let charged: Bytes = found.sockets.iter().map(|sum| sum.truesize_bytes).sum();
    (SkbSlab::of(sample).is_none() && charged > Bytes::ZERO).then(|| Unseen {
        what: format!("what sockets hold outside the slab, of {charged} in their buffers"),
        why: "it takes /proc/slabinfo, which root reads (CAP_DAC_READ_SEARCH)".to_owned(),
    })
}

fn name_of(family: SocketFamily) -> &'static str {
    match family {
        SocketFamily::UnixStream => "UNIX streams",
        SocketFamily::UnixDatagram => "UNIX datagrams",
        SocketFamily::Tcp => "TCP",
        SocketFamily::Udp => "UDP",
        SocketFamily::Netlink => "netlink",
        SocketFamily::Packet => "packet sockets",
    }
}

/// The families in the order in which they are given their part of the slab: TCP first, since its small heads are
/// the ones without an sk_buff in `skbuff_head_cache`.
const FAMILIES: [SocketFamily; 6] = [
    SocketFamily::Tcp,
    SocketFamily::UnixStream,
    SocketFamily::UnixDatagram,
    SocketFamily::Udp,
    SocketFamily::Netlink,
    SocketFamily::Packet,
];

/// Each family's raw pages.
fn raw_pages(found: &Found, mut slab: SkbSlab, page: PageSize) -> Vec<(SocketFamily, Bytes)> {
    let unix = [SocketFamily::UnixStream, SocketFamily::UnixDatagram];
    let inet = found
        .sockets
        .iter()
        .filter(|sum| !unix.contains(&sum.family));
    // What the families that are still to come are charged, of those that share the small heads.
    let mut to_come: Bytes = inet.map(|sum| sum.truesize_bytes).sum();
    let mut raw = Vec::new();
    for family in FAMILIES {
        let Some(sum) = found.sockets.iter().find(|sum| sum.family == family) else {
            continue;
        };
        let truesize = sum.truesize_bytes;
        let in_slab = match family {
            SocketFamily::UnixStream => slab.take_stream(truesize, sum.queued_bytes, page),
            SocketFamily::UnixDatagram => slab.take_datagrams(truesize, Heads::Accounted),
            SocketFamily::Tcp => slab.take_tcp(truesize, to_come),
            SocketFamily::Udp | SocketFamily::Netlink | SocketFamily::Packet => {
                let small = slab.take_small(truesize, to_come);
                small + slab.take_datagrams(truesize - small, Heads::Plain)
            }
        };
        if !unix.contains(&family) {
            to_come = to_come - truesize;
        }
        raw.push((family, truesize - in_slab));
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found::skb_slab::tests::idle_and;
    use plimsoll_proc::found::SocketBuffers;

    const MIB: f64 = 1048576.0;

    /// One kind of writer, as measured on Linux 6.18: what it is charged and has queued, what it added to the
    /// slab's caches, and by how much it moved the residual of the counters.
    struct Case {
        name: &'static str,
        family: SocketFamily,
        truesize_mib: f64,
        queued_mib: f64,
        added: &'static [(&'static str, u64)],
        residual_mib: f64,
        /// How far the figure may be off.
        tolerance_mib: f64,
    }

    #[rustfmt::skip]
    const MEASURED: &[Case] = &[
        Case { name: "300 UNIX pairs, 64 KiB writes", family: SocketFamily::UnixStream, truesize_mib: 307.03, queued_mib: 300.0, residual_mib: 281.20, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 9597), ("kmalloc-cg-4k", 4799), ("kmalloc-cg-1k", 4778)] },
        Case { name: "300 UNIX pairs, 1 MiB writes", family: SocketFamily::UnixStream, truesize_mib: 305.05, queued_mib: 300.0, residual_mib: 269.51, tolerance_mib: 2.5,
            added: &[("skbuff_head_cache", 8658), ("kmalloc-cg-4k", 8391), ("kmalloc-cg-2k", 295)] },
        Case { name: "100 UNIX pairs, 4 KiB writes", family: SocketFamily::UnixStream, truesize_mib: 118.75, queued_mib: 100.0, residual_mib: 100.0, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 25588), ("kmalloc-cg-512", 25488)] },
        Case { name: "100 UNIX pairs, 1 KiB writes", family: SocketFamily::UnixStream, truesize_mib: 112.5, queued_mib: 50.0, residual_mib: 0.10, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 51111), ("kmalloc-cg-2k", 51145)] },
        Case { name: "100 UNIX pairs, 6000-byte writes", family: SocketFamily::UnixStream, truesize_mib: 140.99, queued_mib: 100.0, residual_mib: 68.45, tolerance_mib: 2.0,
            added: &[("skbuff_head_cache", 17592), ("kmalloc-cg-4k", 17495)] },
        Case { name: "1000 UNIX datagram pairs, 4 KiB", family: SocketFamily::UnixDatagram, truesize_mib: 2062.5, queued_mib: 0.0, residual_mib: -0.17, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 255_971), ("kmalloc-cg-8k", 256_000)] },
        Case { name: "300 UNIX datagram pairs, 60 kB", family: SocketFamily::UnixDatagram, truesize_mib: 317.72, queued_mib: 0.0, residual_mib: 232.03, tolerance_mib: 8.0,
            added: &[("skbuff_head_cache", 5376), ("large", 5400)] },
        Case { name: "200 TCP loopback, 64 KiB writes", family: SocketFamily::Tcp, truesize_mib: 200.95, queued_mib: 200.0, residual_mib: 200.03, tolerance_mib: 1.0,
            added: &[("skbuff_small_head", 1197)] },
        Case { name: "200 TCP loopback, 4 KiB writes", family: SocketFamily::Tcp, truesize_mib: 201.27, queued_mib: 200.0, residual_mib: 199.58, tolerance_mib: 1.0,
            added: &[("skbuff_small_head", 1607)] },
        Case { name: "50 UDP, 60 kB", family: SocketFamily::Udp, truesize_mib: 58.01, queued_mib: 0.0, residual_mib: 55.97, tolerance_mib: 8.0,
            added: &[("skbuff_small_head", 918), ("skbuff_head_cache", 918)] },
        Case { name: "50 UDP, 12 kB", family: SocketFamily::Udp, truesize_mib: 39.67, queued_mib: 0.0, residual_mib: 0.0, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 2447), ("large", 2500)] },
        Case { name: "50 UDP, 1400 B", family: SocketFamily::Udp, truesize_mib: 54.93, queued_mib: 0.0, residual_mib: 0.0, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 24994), ("kmalloc-2k", 24992)] },
        Case { name: "50 UDP, 100 B", family: SocketFamily::Udp, truesize_mib: 19.84, queued_mib: 0.0, residual_mib: 0.0, tolerance_mib: 1.0,
            added: &[("skbuff_head_cache", 24994), ("skbuff_small_head", 24906)] },
    ];

    #[test]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes of a test"
    )]
    fn writers_of_many_kinds_come_out_as_measured() {
        for case in MEASURED {
            let found = Found {
                sockets: vec![SocketBuffers {
                    family: case.family,
                    count: 1,
                    truesize_bytes: Bytes((case.truesize_mib * MIB) as u64),
                    queued_bytes: Bytes((case.queued_mib * MIB) as u64),
                }],
                ..Found::default()
            };
            let page = PageSize::new(4096).unwrap();
            let raw = raw_pages(&found, idle_and(case.added), page);
            let raw_mib = raw[0].1.get() as f64 / MIB;
            println!(
                "{:32} {:7.2} measured {:7.2}",
                case.name, raw_mib, case.residual_mib
            );
            assert!(
                (raw_mib - case.residual_mib).abs() <= case.tolerance_mib,
                "{}: {raw_mib} MiB",
                case.name
            );
        }
    }
}
