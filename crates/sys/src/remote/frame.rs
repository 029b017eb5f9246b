//! A signal frame, as the kernel would have written it, that takes a thread back to where it was stopped.
//!
//! `rt_sigreturn(2)` restores from it the general registers, the signal mask and the vector state; the
//! alternate signal stack is left as it is, because the one in the frame is made invalid on purpose (the kernel
//! squashes that error: `kernel/signal.c`, `restore_altstack`). Segment bases are in no frame, and no remote
//! call changes them.
//!
//! One thing it can't restore: how an interrupted system call goes on. Such a call is started anew with its own
//! arguments instead: a sleep of which half is over sleeps whole again. Only where the same sleep had been
//! interrupted before (`restart_syscall(2)`, whose own number and arguments nobody can see) it ends with
//! `EINTR`, for `rt_sigreturn(2)` makes the kernel forget what there was to go on with.
//!
//! Layout (`arch/x86/include/asm/sigframe.h`, `uapi/asm/sigcontext.h`), in ascending addresses:
//!
//! ```text
//!   0  return address: the restorer      <- rsp of the injected call
//!   8  ucontext: flags, link, stack (40 bytes), sigcontext (256 bytes), sigmask
//! 312  siginfo (128 bytes, unused)
//!   …  XSAVE area, 64-aligned, its last word FP_XSTATE_MAGIC2
//! ```

use crate::ptrace::{Registers, SignalMask, XState};
use std::arch::x86_64::__cpuid_count;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 7;
/// A mode of alternate stack that does not exist.
const INVALID_STACK: u64 = 0x40;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Where the sizes of an XSAVE area stand in a signal frame (`fx_sw_reserved`).
const SOFTWARE_BYTES: usize = 464;
/// `XSTATE_BV` in the XSAVE header: the components in use.
const XSTATE_BV: usize = 512;
/// AMX tile data: not part of a thread's frame until it uses it.
const XFEATURE_XTILE_DATA: u64 = 1 << 18;
/// Return address, ucontext, siginfo.
const HEAD_BYTES: u64 = 8 + 304 + 128;
/// What functions may use below the stack pointer (System V ABI).
const RED_ZONE: u64 = 128;

/// A frame ready to be written at `address`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
}

/// Builds a frame that ends below `top`. `None` for a vector state that makes no sense.
pub(super) fn build(
    top: u64,
    restorer: u64,
    registers: &Registers,
    mask: SignalMask,
    xstate: &XState,
) -> Option<Frame> {
    let vector = vector_area(xstate.as_bytes(), frame_bytes)?;
    let vector_at = top.checked_sub(vector.len() as u64)? & !63;
    let address = vector_at.checked_sub(HEAD_BYTES)? & !15;

    let mut words = vec![restorer, UC_FLAGS, 0, 0, INVALID_STACK, 0];
    words.extend(sigcontext(&restarted(registers), vector_at));
    words.push(mask.0);
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
    bytes.resize(usize::try_from(vector_at - address).ok()?, 0);
    bytes.extend(vector);
    Some(Frame { address, bytes })
}

/// The first address that is free to be written below a stack pointer.
pub(super) fn below_red_zone(rsp: u64) -> u64 {
    rsp.saturating_sub(RED_ZONE)
}

/// Room enough for any frame with this state, alignment included.
pub(super) fn room_bytes(xstate: &XState) -> u64 {
    HEAD_BYTES + xstate.as_bytes().len() as u64 + 128
}

/// The registers of a thread whose interrupted call starts anew.
fn restarted(registers: &Registers) -> Registers {
    match registers.restarting() {
        Some(call) => registers.executing_again(call),
        None => *registers,
    }
}

/// `struct sigcontext_64`: 32 words.
fn sigcontext(r: &Registers, fpstate: u64) -> [u64; 32] {
    let segments =
        r.cs & 0xffff | (r.gs & 0xffff) << 16 | (r.fs & 0xffff) << 32 | (r.ss & 0xffff) << 48;
    let mut words = [0; 32];
    let known = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx,
        r.rax, r.rcx, r.rsp, r.rip, r.eflags, segments, 0, 0, 0, 0, fpstate,
    ];
    for (word, value) in words.iter_mut().zip(known) {
        *word = value;
    }
    words
}

/// The XSAVE area as a frame holds it: as long as the thread's frames are, its sizes filled in, the magic word
/// behind it.
fn vector_area(state: &[u8], frame_bytes: impl Fn(u64) -> usize) -> Option<Vec<u8>> {
    let in_use = u64::from_ne_bytes(state.get(XSTATE_BV..XSTATE_BV + 8)?.try_into().ok()?);
    // ptrace puts the features that the kernel lets threads use (XCR0) at the software bytes.
    let possible = state.get(SOFTWARE_BYTES..SOFTWARE_BYTES + 8)?;
    let possible = u64::from_ne_bytes(possible.try_into().ok()?);
    let features = possible & !(XFEATURE_XTILE_DATA & !in_use);
    let size = frame_bytes(features).min(state.len());
    let mut area = state.get(..size)?.to_vec();
    let words = [
        FP_XSTATE_MAGIC1.to_ne_bytes(),
        u32::try_from(size.checked_add(4)?).ok()?.to_ne_bytes(),
    ];
    let size_word = u32::try_from(size).ok()?.to_ne_bytes();
    let software = [
        words.concat(),
        features.to_ne_bytes().to_vec(),
        size_word.to_vec(),
    ]
    .concat();
    area.get_mut(SOFTWARE_BYTES..XSTATE_BV)?.fill(0);
    area.get_mut(SOFTWARE_BYTES..SOFTWARE_BYTES + software.len())?
        .copy_from_slice(&software);
    area.extend(FP_XSTATE_MAGIC2.to_ne_bytes());
    Some(area)
}

/// Length of an XSAVE area in standard format that has room for `features` (`CPUID` leaf 0xd).
fn frame_bytes(features: u64) -> usize {
    let legacy_and_header = 576;
    (2..63)
        .filter(|feature| features >> feature & 1 == 1)
        .map(|feature| {
            let leaf = __cpuid_count(0xd, feature);
            leaf.ebx.saturating_add(leaf.eax) as usize
        })
        .fold(legacy_and_header, usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn state(in_use: u64, possible: u64) -> XState {
        let mut bytes = vec![0; 11_008];
        bytes[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&in_use.to_ne_bytes());
        bytes[SOFTWARE_BYTES..SOFTWARE_BYTES + 8].copy_from_slice(&possible.to_ne_bytes());
        XState::from_bytes(bytes)
    }

    #[test]
    fn tile_data_is_left_out_until_it_is_used() {
        let sizes = |features: u64| {
            if features & XFEATURE_XTILE_DATA == 0 {
                2696
            } else {
                11_008
            }
        };
        let amx = XFEATURE_XTILE_DATA | 7;
        let length = |in_use| {
            vector_area(state(in_use, amx).as_bytes(), sizes)
                .unwrap()
                .len()
        };
        assert_eq!((length(7), length(amx)), (2700, 11_012));
    }

    #[test]
    fn an_interrupted_call_starts_anew() {
        let mut registers = Registers::new_zeroed();
        registers.rax = 516u64.wrapping_neg();
        (registers.orig_rax, registers.rip) = (35, 0x1002);
        assert_eq!(
            (restarted(&registers).rax, restarted(&registers).rip),
            (35, 0x1000)
        );
        registers.rax = 4u64.wrapping_neg(); // EINTR: it is over
        assert_eq!(restarted(&registers), registers);
    }

    #[test]
    fn the_frame_lies_below_its_top_and_is_aligned() {
        let registers = Registers::new_zeroed();
        let frame = build(0x7ffe_1234, 0x4711, &registers, SignalMask(5), &state(7, 7)).unwrap();
        let end = frame.address + frame.bytes.len() as u64;
        assert!(end <= 0x7ffe_1234 && frame.address.is_multiple_of(16));
        assert_eq!(frame.bytes[..8], 0x4711u64.to_ne_bytes());
        // 8 of return address, 40 of flags, link and stack, 256 of registers: then the mask.
        assert_eq!(frame.bytes[304..312], 5u64.to_ne_bytes());
        let fpstate = u64::from_ne_bytes(frame.bytes[48 + 23 * 8..][..8].try_into().unwrap());
        assert_eq!(fpstate % 64, 0);
    }
}
