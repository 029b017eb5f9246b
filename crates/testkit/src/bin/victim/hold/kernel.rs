//! Victims whose memory is the kernel's: names that do not exist, threads, BPF maps.

use super::{Held, Part};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Names that were looked up and are not there: a dentry each, until their directory goes.
struct Absent {
    names: u32,
    _dir: TempDir,
}

/// `struct dentry` on 64-bit kernels; names as short as ours are inside.
const DENTRY_BYTES: u64 = 192;

impl Held for Absent {
    fn bytes(&self) -> u64 {
        u64::from(self.names) * DENTRY_BYTES
    }
}

/// A million lookups that fail.
pub(crate) fn negative_dentries(part: Part) -> io::Result<Box<dyn Held>> {
    let names = part.of(1_000_000);
    let dir = tempfile::tempdir()?;
    for number in 0..names {
        let path = dir.path().join(number.to_string());
        match rustix::fs::stat(&path) {
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Err(io::Error::other("a name exists that should not")),
        }
    }
    Ok(Box::new(Absent { names, _dir: dir }))
}

/// Threads that wait until their sender is dropped.
struct Threads {
    wake: Vec<mpsc::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// `THREAD_SIZE` on x86-64, and on arm64 with pages of 4 KiB: one kernel stack.
const KERNEL_STACK_BYTES: u64 = 16 << 10;

impl Held for Threads {
    fn bytes(&self) -> u64 {
        self.threads.len() as u64 * KERNEL_STACK_BYTES
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.wake.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // they do nothing that could panic
        }
    }
}

/// 2000 threads that sleep.
pub(crate) fn idle_threads(part: Part) -> io::Result<Box<dyn Held>> {
    let mut held = Threads {
        wake: Vec::new(),
        threads: Vec::new(),
    };
    for _ in 0..part.of(2000) {
        let (wake, woken) = mpsc::channel::<()>();
        let sleep = move || {
            let _ = woken.recv(); // an error: the sender is gone, and that is the sign to end
        };
        let thread = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(sleep)?;
        held.wake.push(wake);
        held.threads.push(thread);
    }
    Ok(Box::new(held))
}

struct Map {
    bytes: u64,
    _map: OwnedFd,
}

impl Held for Map {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A BPF array of 256 MiB.
pub(crate) fn bpf_array(part: Part) -> io::Result<Box<dyn Held>> {
    let (value_bytes, entries) = (4096, part.of(65_536));
    Ok(Box::new(Map {
        bytes: u64::from(value_bytes) * u64::from(entries),
        _map: plimsoll_sys::bpf::array_map(value_bytes, entries)?,
    }))
}
