//! What sockets hold, asked of the kernel in every network namespace.
//!
//! A namespace other than our own is entered with `setns(2)` by a thread that asks and ends, so no other thread of this
//! program ever leaves its own. `sock_diag(7)` lists all sockets of the namespace it was opened in, those in
//! nobody's hands included.

mod answers;
pub mod netlink;

use super::{Found, PacketRing, SocketBuffers, SocketFamily, Unseen};
use answers::{Question, Socket, UDP_LITE, questions};
use netlink::SockDiag;
use plimsoll_units::Bytes;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

/// Looks into every namespace of `namespaces` (inode, and a path that opens it, absolute or below `proc`) and adds what is
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

/// How many sockets an answer of the kernel tells of, if every question is taken to be the one that was asked: for the
/// fuzz target.
#[cfg(fuzzing)]
pub fn told_of(answer: &[u8]) -> usize {
    let questions = questions();
    let mut sockets = 0;
    let _ = netlink::visit_all(answer, |payload| {
        let told = questions.iter().filter_map(|asked| (asked.read)(payload));
        sockets += told.count();
    });
    sockets
}

/// Families that the kernel would not tell about.
type Refusals = Vec<(&'static str, Errno)>;

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
        Err(errno) => return questions.iter().map(|q| (q.name, errno)).collect(),
    };
    let mut refusals = Refusals::new();
    for question in questions {
        let mut sockets = Vec::new();
        let dumped = diag.dump(&question.request, |answer| {
            sockets.extend((question.read)(answer));
        });
        add(found, sockets);
        if let Err(errno) = dumped {
            refusals.push((question.name, errno));
        }
    }
    refusals
}

/// Adds the sockets of one dump.
fn add(found: &mut Found, sockets: Vec<Socket>) {
    let inodes: HashSet<u32> = sockets.iter().map(|socket| socket.inode).collect();
    for socket in sockets {
        // What a UNIX socket has sent is charged to the sender, and one that was closed meanwhile is not
        // listed any more: then at least the payload counts.
        let sender_is_gone =
            socket.family == SocketFamily::UnixStream && !inodes.contains(&socket.peer);
        let inherited = if sender_is_gone {
            socket.queued
        } else {
            Bytes::ZERO
        };
        let sum = buffers_of(&mut found.sockets, socket.family);
        sum.count += 1;
        sum.truesize_bytes += socket.truesize + inherited;
        sum.queued_bytes += socket.queued;
        let rings = socket.rings.into_iter().map(|(block, blocks)| PacketRing {
            inode: socket.inode.into(),
            block_bytes: Bytes(block.into()),
            blocks: blocks.into(),
        });
        found.packet_rings.extend(rings);
    }
}

/// The entry of a family, made where there is none yet.
fn buffers_of(sums: &mut Vec<SocketBuffers>, family: SocketFamily) -> &mut SocketBuffers {
    let none = SocketBuffers {
        family,
        count: 0,
        truesize_bytes: Bytes::ZERO,
        queued_bytes: Bytes::ZERO,
    };
    match sums.iter().position(|sum| sum.family == family) {
        Some(at) => sums.swap(at, 0),
        None => sums.insert(0, none),
    }
    sums.first_mut()
        .expect("the entry was moved or made there just now")
}

fn note_refusals(found: &mut Found, refusals: Refusals, place: &str) {
    let mut named = HashSet::new();
    for (name, errno) in refusals {
        // Most kernels have no UDP-Lite any more, and so none of its sockets.
        let needless = name == UDP_LITE && errno == Errno::NOENT;
        if !needless && named.insert(name) {
            found.unseen.push(Unseen {
                what: format!("{name} sockets of {place}"),
                why: format!("sock_diag: {errno}"),
            });
        }
    }
}
