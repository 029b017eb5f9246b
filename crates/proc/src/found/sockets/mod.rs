//! What sockets hold, asked of the kernel in every network namespace.
//!
//! A namespace other than our own is entered with `setns(2)` by a thread that asks and ends, so no other thread of this
//! program ever leaves its own. `sock_diag(7)` lists all sockets of the namespace it was opened in, those in
//! nobody's hands included.

mod answers;
mod netlink;

use super::{Found, PacketRing, SocketBuffers, SocketFamily, Unseen};
use answers::{Question, Socket, questions};
use netlink::SockDiag;
use plimsoll_units::Bytes;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

/// Looks into every namespace of `namespaces` (inode, and a path below `proc` that opens it) and adds what is
/// there to `found`; `own` is the one this thread is in.
pub(super) fn look(
    found: &mut Found,
    proc: BorrowedFd<'_>,
    own: Option<u64>,
    namespaces: &BTreeMap<u64, CString>,
) {
    let refusals = ask_all(found, &questions());
    note_refusals(found, refusals, "this network namespace");
    let mut refused = Vec::new();
    for (_, path) in namespaces.iter().filter(|(inode, _)| Some(**inode) != own) {
        match ask_elsewhere(found, proc, path) {
            Ok(refusals) => note_refusals(found, refusals, "another network namespace"),
            Err(Errno::NOENT | Errno::SRCH) => {} // its last process ended
            Err(errno) => refused.push(errno),
        }
    }
    if let Some(errno) = refused.first() {
        found.unseen.push(Unseen {
            what: format!("sockets of {} other network namespaces", refused.len()),
            why: format!("{errno}; CAP_SYS_ADMIN may enter them"),
        });
    }
}

/// Families that the kernel would not tell about.
type Refusals = Vec<(SocketFamily, Errno)>;

fn ask_elsewhere(found: &mut Found, proc: BorrowedFd<'_>, path: &CStr) -> Result<Refusals, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(proc, path, flags, Mode::empty())?;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(ask_all(found, &questions()))
        });
        asking.join().unwrap_or(Err(Errno::IO))
    })
}

fn ask_all(found: &mut Found, questions: &[Question]) -> Refusals {
    let mut diag = match SockDiag::open() {
        Ok(diag) => diag,
        Err(errno) => return questions.iter().map(|q| (q.family, errno)).collect(),
    };
    let mut refusals = Refusals::new();
    for question in questions {
        match ask(&mut diag, question) {
            Ok(sum) => sum.add_to(found),
            Err(errno) => refusals.push((question.family, errno)),
        }
    }
    refusals
}

fn ask(diag: &mut SockDiag, question: &Question) -> Result<Sum, Errno> {
    let mut sum = Sum::new(question.family);
    diag.dump(&question.request, |answer| {
        if let Some(socket) = (question.read)(answer) {
            sum.add(socket);
        }
    })?;
    Ok(sum)
}

/// The sockets of one family in one namespace.
struct Sum {
    buffers: SocketBuffers,
    rings: Vec<PacketRing>,
    inodes: HashSet<u32>,
    /// What is queued from a peer: its inode, and how much.
    queued_from: Vec<(u32, Bytes)>,
}

impl Sum {
    fn new(family: SocketFamily) -> Self {
        Self {
            buffers: SocketBuffers::none(family),
            rings: Vec::new(),
            inodes: HashSet::new(),
            queued_from: Vec::new(),
        }
    }

    fn add(&mut self, socket: Socket) {
        self.buffers.count += 1;
        self.buffers.truesize_bytes += socket.truesize;
        self.buffers.queued_bytes += socket.queued;
        if self.buffers.family == SocketFamily::Unix {
            self.inodes.insert(socket.inode);
            if socket.queued > Bytes::ZERO {
                self.queued_from.push((socket.peer, socket.queued));
            }
        }
        let rings = socket.rings.into_iter().map(|(block, blocks)| PacketRing {
            inode: socket.inode.into(),
            block_bytes: Bytes(block.into()),
            blocks: blocks.into(),
        });
        self.rings.extend(rings);
    }

    fn add_to(mut self, found: &mut Found) {
        // What a UNIX socket has sent is charged to the sender, and one that was closed meanwhile is not listed any
        // more: then at least the payload counts.
        for (peer, queued) in &self.queued_from {
            if !self.inodes.contains(peer) {
                self.buffers.truesize_bytes += *queued;
            }
        }
        found.packet_rings.append(&mut self.rings);
        match (found.sockets.iter_mut()).find(|sum| sum.family == self.buffers.family) {
            Some(sum) => sum.add(&self.buffers),
            None if self.buffers.count > 0 => found.sockets.push(self.buffers),
            None => {}
        }
    }
}

impl SocketBuffers {
    fn none(family: SocketFamily) -> Self {
        Self {
            family,
            count: 0,
            truesize_bytes: Bytes::ZERO,
            queued_bytes: Bytes::ZERO,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.truesize_bytes += other.truesize_bytes;
        self.queued_bytes += other.queued_bytes;
    }
}

fn note_refusals(found: &mut Found, refusals: Refusals, place: &str) {
    let mut named = HashSet::new();
    for (family, errno) in refusals {
        // A kernel without UDP-Lite or IPv6 has none of their sockets either.
        let needless = errno == Errno::NOENT && family == SocketFamily::Udp;
        if !needless && named.insert(family) {
            found.unseen.push(Unseen {
                what: format!("{family:?} sockets of {place}"),
                why: format!("sock_diag: {errno}"),
            });
        }
    }
}
