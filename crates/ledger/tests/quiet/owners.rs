//! The acceptance of the host's account: memory of each kind, taken by a victim of known size, shows up in its
//! owner, and `unattributed` stays where it was.
//!
//! Needs a machine on which nothing else happens, so it runs only by name:
//! `cargo test -p plimsoll-ledger --test main owners -- --ignored --nocapture`. Each case measures, starts its victim
//! and measures again; a measurement is the median of several samples.

use plimsoll_ledger::found::discovered;
use plimsoll_ledger::host::{Accounted, account};
use plimsoll_proc::host::HostSampler;
use plimsoll_proc::{Root, found};
use plimsoll_testkit::{Victim, need};
use plimsoll_units::Bytes;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// By how much `unattributed` may move.
const UNATTRIBUTED: Bytes = Bytes::from_mib(2);
/// How far off its owner may be, in per cent.
const OWNER_PERCENT: u64 = 5;
const SAMPLES: usize = 15;

/// One case at a time, also where tests run in parallel.
static ALONE: Mutex<()> = Mutex::new(());

/// A victim takes memory, and `owner` is seen to own it.
fn moves(kind: &str, owner: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    settle();
    let before = measure();
    let victim = Victim::start(kind).unwrap();
    settle();
    let after = measure();
    let truth = victim.held_bytes().unwrap();
    victim.end().unwrap();

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
    assert!(
        off * 100 <= truth * OWNER_PERCENT,
        "{owner} is off by {off} bytes"
    );
    assert!(
        Bytes(moved.unsigned_abs()) <= UNATTRIBUTED,
        "unattributed moved by {moved} bytes"
    );
}

/// The account whose `unattributed` is the median of several.
fn measure() -> Accounted {
    let root = Root::live();
    let mut sampler = HostSampler::open(&root).unwrap();
    let mut accounts: Vec<Accounted> = (0..SAMPLES)
        .map(|_| {
            sleep(Duration::from_millis(20));
            let page = plimsoll_proc::page_size::read(&root).unwrap();
            let found = found::look(&root, page).unwrap();
            let sample = sampler.sample().unwrap();
            account(&sample, &discovered(&found, &sample))
        })
        .collect();
    accounts.sort_by_key(|account| account.host.unattributed_bytes);
    accounts.swap_remove(SAMPLES / 2)
}

/// Waits until free memory stands still: what ended before may still be giving back.
fn settle() {
    let root = Root::live();
    let mut sampler = HostSampler::open(&root).unwrap();
    let mut free = move || sampler.sample().unwrap().meminfo.mem_free.unwrap();
    let mut last = free();
    for _ in 0..20 {
        sleep(Duration::from_millis(500));
        let now = free();
        if now.signed_sub(last).unsigned_abs() < 1 << 20 {
            return;
        }
        last = now;
    }
}

/// What an owner has; nothing where it is not listed.
fn bytes_of(account: &Accounted, id: &str) -> Bytes {
    let owner = account.host.owners.iter().find(|owner| owner.id == id);
    owner.map_or(Bytes::ZERO, |owner| owner.bytes)
}

fn mib(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A test for each kind: its name, the victim, the owner, the free memory it needs in MiB, and other needs.
macro_rules! cases {
    ($($name:ident: $kind:literal in $owner:literal, $mib:literal MiB $(, $need:ident)?;)*) => {
        $(
            #[test]
            #[ignore = "needs a machine on which nothing else happens"]
            fn $name() {
                need!(Root, MemoryFree(Bytes::from_mib($mib)) $(, $need)?);
                moves($kind, $owner);
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
