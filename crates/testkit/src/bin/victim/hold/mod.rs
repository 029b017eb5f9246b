//! Victims that hold memory of one kind, for tests that look for it.
//!
//! Each takes its memory, writes `ready BYTES` (how much its owner must have grown by) and holds it until its
//! standard input ends, so it never outlives its test. Then it checks what it can still see of it, gives
//! everything back and writes `ok held`. Each kind is one that the kernel counts differently; sizes are
//! those that the acceptance test of the account asks for, or a part of them: `victim anon 8` takes an eighth.

mod kernel;
mod memory;
mod shattered;
mod sockets;

use std::io::{self, Read};

/// Memory that is held until this is dropped.
pub(crate) trait Held {
    /// How much its owner has grown by.
    fn bytes(&self) -> u64;

    /// Whether it still is what it was.
    fn verify(&self) -> io::Result<()> {
        Ok(())
    }
}

/// How much of the full size is taken: one part in so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part(u32);

impl Part {
    /// `None` where it is no number, or 0.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|part| *part > 0).map(Self)
    }

    fn of(self, full: u32) -> u32 {
        full / self.0
    }
}

pub(crate) type Take = fn(Part) -> io::Result<Box<dyn Held>>;

const KINDS: &[(&str, Take)] = &[
    ("page-cache", memory::page_cache),
    ("tmpfs", memory::tmpfs),
    ("negative-dentries", kernel::negative_dentries),
    ("anon", memory::anon),
    ("relatives", memory::relatives),
    ("idle-threads", kernel::idle_threads),
    ("bpf-array", kernel::bpf_array),
    ("secretmem", memory::secretmem),
    ("pipes", sockets::pipes),
    ("unix-pairs", sockets::unix_pairs),
    ("idle-sockets", sockets::idle_sockets),
    ("tcp-pairs", sockets::tcp_pairs),
    ("packet-ring", sockets::packet_ring),
    ("shattered", shattered::shattered),
    ("shards", shattered::shards),
    ("arenas", memory::arenas),
    ("sysv-orphan", memory::sysv_orphan),
];

/// How memory of this kind is taken; `None` where no victim holds such.
pub(crate) fn kind(name: &str) -> Option<Take> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == name);
    kind.map(|(_, take)| *take)
}

/// Takes memory and holds it until standard input ends.
pub(crate) fn hold(take: Take, part: Part) -> io::Result<()> {
    let held = take(part)?;
    println!("ready {}", held.bytes());
    io::stdin().read_to_end(&mut Vec::new())?;
    held.verify()?;
    drop(held);
    println!("ok held");
    Ok(())
}

fn corrupt(what: &str) -> io::Error {
    let error = format!("{what} is not what was written");
    io::Error::new(io::ErrorKind::InvalidData, error)
}
