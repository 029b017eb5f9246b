//! A restartable sequence (`rseq(2)`) that takes long, so that it is cut through: what
//! [`remote`](crate::remote) has to leave right is tried on it.
//!
//! It reads an epoch at its beginning and again at its end. Whoever stops the process may raise the epoch: a sequence
//! that is preempted in between must be aborted, so one that ends with another epoch went on when it must not.
//! While it runs, `r12` holds the epoch's address and `r13` [`MARK`].
//!
//! # Safety
//! The assembly touches its own registers, the descriptor on our stack, the epoch, and the `rseq_cs` field that glibc
//! registered for this thread, which it leaves empty.
#![allow(unsafe_code)]

use std::arch::asm;
use std::sync::atomic::AtomicU64;

/// In `r13` while the sequence runs.
const MARK: u64 = 0x706c_696d_736f_6c6c;
/// What glibc registers as the word before every abort handler.
const SIGNATURE: u32 = 0x5305_3053;

static EPOCH: AtomicU64 = AtomicU64::new(0);

/// How a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran through.
    Committed,
    /// It ran through, and the epoch is another: it went on when it must not.
    CommittedLate,
    /// It was aborted.
    Aborted,
}

/// Runs sequences in the thread that asks.
#[derive(Debug, Clone, Copy)]
pub struct Restartable {
    /// Where the C library keeps its area, from the thread pointer.
    offset: isize,
}

impl Restartable {
    /// `None` where the C library registers no area.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {
            offset: rseq_offset()?,
        })
    }

    /// One sequence.
    #[must_use]
    pub fn run(self) -> Outcome {
        match sequence(self.offset) {
            0 => Outcome::Committed,
            1 => Outcome::CommittedLate,
            _ => Outcome::Aborted,
        }
    }
}

/// `__rseq_offset` (glibc 2.35).
fn rseq_offset() -> Option<isize> {
    // SAFETY: a name that ends in zero; the result is null, or the address of glibc's `const ptrdiff_t`.
    unsafe {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
        symbol.cast::<isize>().as_ref().copied()
    }
}

/// One sequence: 0 committed, 1 committed though the epoch changed, 2 aborted.
fn sequence(offset: isize) -> u64 {
    let mut descriptor = [0u64; 4];
    let outcome: u64;
    // SAFETY: see the header; the labels follow the layout of `struct rseq_cs`, and the signature stands before the
    // abort handler.
    unsafe {
        asm!(
            "lea {t}, [rip + 2f]",
            "mov [{d} + 8], {t}",
            "lea {u}, [rip + 3f]",
            "sub {u}, {t}",
            "mov [{d} + 16], {u}",
            "lea {t}, [rip + 4f]",
            "mov [{d} + 24], {t}",
            "add {rseq}, fs:0",
            "mov [{rseq} + 8], {d}",
            "2:",
            "mov {t}, [r12]",
            "mov {u}, 20000",
            "6:",
            "pause",
            "dec {u}",
            "jnz 6b",
            "mov {o:e}, 0",
            "cmp {t}, [r12]",
            "3:",
            "setne {o:l}",
            "jmp 5f",
            ".long {signature}",
            "4:",
            "mov {o:e}, 2",
            "5:",
            "mov qword ptr [{rseq} + 8], 0",
            d = in(reg) descriptor.as_mut_ptr(),
            rseq = inout(reg) offset => _,
            t = out(reg) _,
            u = out(reg) _,
            o = out(reg_abcd) outcome,
            signature = const SIGNATURE,
            in("r12") EPOCH.as_ptr(),
            inout("r13") MARK => _,
        );
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_commit_or_are_aborted() {
        let Some(restartable) = Restartable::new() else {
            return; // not glibc 2.35
        };
        let outcomes: Vec<_> = (0..200).map(|_| restartable.run()).collect();
        assert!(outcomes.contains(&Outcome::Committed));
        assert!(!outcomes.contains(&Outcome::CommittedLate));
    }
}
