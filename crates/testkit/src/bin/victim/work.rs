//! Work that shows a changed register, a changed byte or a lost child.

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory filled by a rule and checked against it, in integer and vector registers.
pub(crate) fn checked() -> impl FnMut() -> Result<(), String> {
    let mut memory = vec![0u64; 8 << 10];
    let mut seed = 1u64;
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for (index, word) in memory.iter_mut().enumerate() {
            *word = seed ^ index as u64;
        }
        let sum: f64 = black_box(&memory)
            .iter()
            .map(|word| (word % 1024) as f64)
            .sum();
        let again: f64 = black_box(&memory)
            .iter()
            .map(|word| (word % 1024) as f64)
            .sum();
        let right = |(index, word): (usize, &u64)| *word == seed ^ index as u64;
        if sum.to_bits() != again.to_bits() || !memory.iter().enumerate().all(right) {
            return Err("memory or registers changed".to_owned());
        }
        Ok(())
    }
}

/// 320 MiB of which every page is read and written in turn: two of these don't fit into a small guest.
pub(crate) fn large() -> impl FnMut() -> Result<(), String> {
    let page_words = rustix::param::page_size() / size_of::<u64>();
    let mut memory = vec![0u64; (320 << 20) / size_of::<u64>()];
    let mut round = 0;
    move || {
        for (index, word) in memory.iter_mut().step_by(page_words).enumerate() {
            let mark = |round: u64| {
                if round == 0 {
                    0
                } else {
                    round << 32 | index as u64
                }
            };
            if *word != mark(round) {
                return Err(format!("page {index} holds {word:#x} in round {round}"));
            }
            *word = mark(round + 1);
        }
        round += 1;
        Ok(())
    }
}

/// Four threads that count together; each must keep counting.
pub(crate) fn threads() -> impl FnMut() -> Result<(), String> {
    let counts: Arc<[AtomicU64; 4]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
    for index in 0..4 {
        let counts = Arc::clone(&counts);
        std::thread::spawn(move || {
            let mut check = checked();
            loop {
                if let Err(error) = check() {
                    eprintln!("victim: {error}");
                    std::process::exit(1);
                }
                if let Some(count) = counts.get(index) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    crate::sleeps::nanosleep
}

/// A child by `posix_spawn(3)` (which is `vfork(2)`) and a thread, made and awaited.
pub(crate) fn forks() -> Result<(), String> {
    let child = Command::new("/bin/true")
        .spawn()
        .map_err(|error| error.to_string())?;
    let thread = std::thread::spawn(|| black_box(7));
    let mut child = child;
    let status = child.wait().map_err(|error| error.to_string())?;
    let seven = thread.join().map_err(|_| "a thread panicked".to_owned())?;
    if !status.success() || seven != 7 {
        return Err(format!("a child ended with {status}"));
    }
    Ok(())
}
