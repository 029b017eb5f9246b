//! Restartable sequences (`rseq(2)`): a stop inside one must abort it.
//!
//! The kernel aborts a sequence that was preempted when the thread returns to user space *at an address inside
//! the sequence*. A remote call makes it return elsewhere first: the kernel then finds it outside, clears the
//! thread's `rseq_cs`, and when the registers are put back the sequence would go on as if never interrupted,
//! perhaps on another CPU. So the abort is taken here, before the first call: the thread goes on at the
//! sequence's own abort handler, as it would have after any preemption.

use super::Error;
use crate::ptrace::{RseqConfiguration, Stopped};
use crate::{Span, vm};
use rustix::io::Errno;
use rustix::process::Pid;

/// Offset of `rseq_cs` in `struct rseq`.
const RSEQ_CS: u64 = 8;

/// `struct rseq_cs`: version and flags (two u32), start, length, abort handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequence {
    start: u64,
    length: u64,
    abort: u64,
}

/// Where the thread has to go on, when it stands inside a restartable sequence.
pub(super) fn abort_address(thread: &Stopped, rip: u64) -> Result<Option<u64>, Error> {
    let area = match thread.rseq() {
        Ok(area) if area.address != 0 => area,
        // EIO: a kernel before 5.13, or without rseq.
        Ok(_) => return Ok(None),
        Err(error) if error.errno == Errno::IO => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let tid = thread.tid();
    let [pointer] = read_words(tid, area.address.saturating_add(RSEQ_CS))?;
    if pointer == 0 {
        return Ok(None);
    }
    // A pointer to nowhere is the thread's own fault, and the kernel's to punish.
    let Ok([_, start, length, abort]) = read_words(tid, pointer) else {
        return Ok(None);
    };
    let sequence = Sequence {
        start,
        length,
        abort,
    };
    Ok((sequence.holds(rip) && signed(tid, sequence, area)).then_some(abort))
}

impl Sequence {
    fn holds(self, rip: u64) -> bool {
        rip.wrapping_sub(self.start) < self.length
    }
}

/// Whether the abort handler is preceded by the signature the thread registered; the kernel refuses others.
fn signed(tid: Pid, sequence: Sequence, area: RseqConfiguration) -> bool {
    let mut word = [0; 4];
    let at = Span::new(sequence.abort.wrapping_sub(4), 4);
    vm::read(tid, &[at], &mut word) == Ok(4) && u32::from_ne_bytes(word) == area.signature
}

fn read_words<const N: usize>(tid: Pid, address: u64) -> Result<[u64; N], Error> {
    let mut words = [[0; 8]; N];
    let bytes = words.as_flattened_mut();
    let length = bytes.len();
    let failed = |errno| Error::Memory {
        operation: "read the rseq area",
        tid,
        address,
        errno,
    };
    let read = vm::read(tid, &[Span::new(address, length as u64)], bytes).map_err(failed)?;
    if read != length {
        return Err(failed(Errno::FAULT));
    }
    Ok(words.map(u64::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn a_sequence_is_half_open() {
        let sequence = Sequence {
            start: 10,
            length: 5,
            abort: 99,
        };
        assert_eq!(
            [9, 10, 14, 15].map(|rip| sequence.holds(rip)),
            [false, true, true, false]
        );
    }
}
