//! Memory of each kind, taken by a victim of known size, shows up in its owner, and `unattributed` stays where it was.
//!
//! Each case measures, starts its victim and measures again; a measurement is the median of several samples.

use super::{measure, mib, settle, up_to_three_times};
use plimsoll_ledger::host::Accounted;
use plimsoll_testkit::{Victim, need};
use plimsoll_units::Bytes;

/// By how much `unattributed` may move.
const UNATTRIBUTED: Bytes = Bytes::from_mib(2);
/// How far off its owner may be, in per cent.
const OWNER_PERCENT: u64 = 5;

/// A victim takes memory, and `owner` is seen to own it.
fn moves(kind: &str, owner: &str) -> Result<(), String> {
    Victim::build().unwrap();
    // What others forgot leaves room in the slabs that a cache has already: a first victim takes that.
    let first = owner.starts_with("slab.").then(|| Victim::start(kind));
    let first = first.transpose().unwrap();
    settle();
    let before = measure();
    let victim = Victim::start(kind).unwrap();
    settle();
    let after = measure();
    let truth = victim.held_bytes().unwrap();
    victim.end().unwrap();
    if let Some(first) = first {
        first.end().unwrap();
    }

    let grown = bytes_of(&after, owner).signed_sub(bytes_of(&before, owner));
    let moved = after.host.unattributed_bytes - before.host.unattributed_bytes;
    println!(
        "{kind:18} {owner:15} {:9.2} MiB of {:9.2}   unattributed {:+6.2} MiB ({:.2} -> {:.2})",
        mib(grown),
        mib(truth.cast_signed()),
        mib(moved),
        mib(before.host.unattributed_bytes),
        mib(after.host.unattributed_bytes),
    );
    let off = grown.abs_diff(truth.cast_signed());
    if off * 100 > truth * OWNER_PERCENT {
        return Err(format!("{owner} is off by {off} bytes"));
    }
    if Bytes(moved.unsigned_abs()) > UNATTRIBUTED {
        return Err(format!("unattributed moved by {moved} bytes"));
    }
    Ok(())
}

/// What an owner has; nothing where it is not listed.
fn bytes_of(account: &Accounted, id: &str) -> Bytes {
    let owner = account.host.owners.iter().find(|owner| owner.id == id);
    owner.map_or(Bytes::ZERO, |owner| owner.bytes)
}

/// A test for each kind: its name, the victim, the owner, the free memory it needs in MiB, and other needs.
macro_rules! cases {
    ($($name:ident: $kind:literal in $owner:literal, $mib:literal MiB $(, $need:ident)?;)*) => {
        $(
            #[test]
            fn $name() {
                need!(Root, MemoryFree(Bytes::from_mib($mib)) $(, $need)?);
                up_to_three_times(|| moves($kind, $owner));
            }
        )*
    };
}

cases! {
    page_cache: "page-cache" in "page_cache", 3072 MiB;
    tmpfs: "tmpfs" in "shmem", 1536 MiB;
    negative_dentries: "negative-dentries" in "slab.dentry", 512 MiB;
    anonymous: "anon" in "anon", 2560 MiB;
    threads: "idle-threads" in "kernel_stacks", 256 MiB;
    bpf_array: "bpf-array" in "vmalloc", 512 MiB;
    memfd_secret: "secretmem" in "secretmem", 512 MiB, MemfdSecret;
    full_pipes: "pipes" in "pipe_buffers", 512 MiB;
    unix_pairs: "unix-pairs" in "socket_buffers", 1536 MiB;
    packet_ring: "packet-ring" in "packet_rings", 512 MiB;
    orphaned_sysv_segment: "sysv-orphan" in "shmem", 1024 MiB;
}
