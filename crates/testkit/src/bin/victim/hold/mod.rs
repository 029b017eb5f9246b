//! Victims that hold memory of one kind, for tests that look for it.
//!
//! Each takes its memory, writes `ready BYTES` (how much its owner must have grown by) and holds it until its
//! standard input ends, so it never outlives its test. Then it checks what it can still see of it, gives
//! everything back and writes `ok held`. Each kind is one that the kernel counts differently; sizes are
//! those that the acceptance test of the account asks for.

mod kernel;
mod memory;
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

pub(crate) type Take = fn() -> io::Result<Box<dyn Held>>;

const KINDS: &[(&str, Take)] = &[
    ("page-cache", memory::page_cache),
    ("tmpfs", memory::tmpfs),
    ("negative-dentries", kernel::negative_dentries),
    ("anon", memory::anon),
    ("idle-threads", kernel::idle_threads),
    ("bpf-array", kernel::bpf_array),
    ("secretmem", memory::secretmem),
    ("pipes", sockets::pipes),
    ("unix-pairs", sockets::unix_pairs),
    ("packet-ring", sockets::packet_ring),
    ("sysv-orphan", memory::sysv_orphan),
];

/// How memory of this kind is taken; `None` where no victim holds such.
pub(crate) fn kind(name: &str) -> Option<Take> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == name);
    kind.map(|(_, take)| *take)
}

/// Takes memory and holds it until standard input ends.
pub(crate) fn hold(take: Take) -> io::Result<()> {
    let held = take()?;
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
