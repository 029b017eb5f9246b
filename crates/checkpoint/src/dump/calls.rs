//! Questions that a process can only answer itself: calls that it executes for us and the bytes they leave.

use crate::error::Error;
use plimsoll_surgery::operate::Operation;
use plimsoll_sys::remote::Syscall;

/// Executes a call whose last pointer argument is the answer; gives `N` bytes of it.
pub(super) fn ask<const N: usize>(
    operation: &mut Operation<'_>,
    what: &'static str,
    number: libc::c_long,
    args: impl FnOnce(u64) -> [u64; 6],
) -> Result<[u8; N], Error> {
    let at = operation.argument(&[0; N])?;
    operation.call(what, Syscall::new(number, args(at)))?;
    let mut answer = [0; N];
    operation.answer(&mut answer)?;
    Ok(answer)
}

/// A word of such an answer.
pub(super) fn word(answer: &[u8], index: usize) -> u64 {
    let bytes = answer.chunks_exact(8).nth(index);
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}
