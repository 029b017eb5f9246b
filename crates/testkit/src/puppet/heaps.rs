//! A puppet whose threads fill glibc's thread arenas: the story of a host that ran dry while `Committed_AS`
//! stood still. Blocks stay below the size from which `malloc(3)` maps each on its own, so they all lie in
//! heaps of 64 MiB.
//!
//! | order | |
//! | --- | --- |
//! | `fill THREADS MIB` | so many threads fill so many MiB each, and sleep with it |

use std::io;
use std::sync::mpsc;
use std::thread;

/// Below `M_MMAP_THRESHOLD` (128 KiB to begin with, and it only ever rises).
const BLOCK: usize = 64 << 10;

/// Carries out one order.
///
/// # Errors
/// When the order makes no sense.
pub fn obey(order: &str) -> io::Result<String> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let number = |word: &str| word.parse::<usize>().map_err(io::Error::other);
    let ["fill", threads, mib] = *words.as_slice() else {
        return Err(io::Error::other("no such order"));
    };
    let blocks = number(mib)?.saturating_mul(1 << 20) / BLOCK;
    let (full, wait) = mpsc::channel();
    let threads = number(threads)?;
    for _ in 0..threads {
        let full = full.clone();
        thread::spawn(move || {
            let held: Vec<Box<[u8]>> = (0..blocks).map(|_| vec![1; BLOCK].into()).collect();
            let _ = full.send(held.len());
            loop {
                thread::park();
                std::hint::black_box(&held);
            }
        });
    }
    let filled = wait.iter().take(threads).sum::<usize>();
    Ok(format!("{filled} blocks"))
}
