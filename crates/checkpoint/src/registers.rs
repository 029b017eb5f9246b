//! A thread's registers, between the kernel's form and the images'. Pure, but for one question to the processor: where in an
//! XSAVE area a component lies (`CPUID` leaf 0xd), for images hold components, not areas: they outlive the processor that
//! laid them out.

use plimsoll_image::proto::{
    UserX86FpregsEntry, UserX86RegsEntry, UserX86RegsMode, UserX86XsaveEntry,
};
use plimsoll_sys::ptrace::{Registers, XState};
use std::arch::x86_64::__cpuid_count;

/// Components of an XSAVE area that images have fields for, by bit of `XSTATE_BV`: x87, SSE, AVX, MPX (two), AVX-512
/// (three), protection keys. What an unused component holds does not matter.
const KNOWN: u64 = 0b10_1111_1111;
/// Processor trace and other supervisor state never reaches user space; shadow stacks (11, 12) and AMX (17, 18) do.
const UNKNOWN_IN_USE: u64 = !KNOWN & !(1 << 8);

/// Offsets in an XSAVE area.
const FCW: usize = 0;
const FSW: usize = 2;
const FTW: usize = 4;
const FOP: usize = 6;
const FIP: usize = 8;
const FDP: usize = 16;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const ST: (usize, usize) = (32, 32);
const XMM: (usize, usize) = (160, 64);
const XSTATE_BV: usize = 512;

/// Component numbers.
const AVX: u32 = 2;
const BNDREGS: u32 = 3;
const BNDCSR: u32 = 4;
const OPMASK: u32 = 5;
const ZMM_UPPER: u32 = 6;
const HI16_ZMM: u32 = 7;
const PKRU: u32 = 9;

/// General registers, for the images.
pub(crate) fn general_to_image(r: &Registers) -> UserX86RegsEntry {
    UserX86RegsEntry {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        bp: r.rbp,
        bx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        ax: r.rax,
        cx: r.rcx,
        dx: r.rdx,
        si: r.rsi,
        di: r.rdi,
        orig_ax: r.orig_rax,
        ip: r.rip,
        cs: r.cs,
        flags: r.eflags,
        sp: r.rsp,
        ss: r.ss,
        fs_base: r.fs_base,
        gs_base: r.gs_base,
        ds: r.ds,
        es: r.es,
        fs: r.fs,
        gs: r.gs,
        mode: Some(UserX86RegsMode::Native.into()),
    }
}

/// General registers, from the images.
pub(crate) fn general_from_image(r: &UserX86RegsEntry) -> Registers {
    Registers {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        rbp: r.bp,
        rbx: r.bx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        rax: r.ax,
        rcx: r.cx,
        rdx: r.dx,
        rsi: r.si,
        rdi: r.di,
        // Whatever call it was in is over, or stands to be executed again.
        orig_rax: u64::MAX,
        rip: r.ip,
        cs: r.cs,
        eflags: r.flags,
        rsp: r.sp,
        ss: r.ss,
        fs_base: r.fs_base,
        gs_base: r.gs_base,
        ds: r.ds,
        es: r.es,
        fs: r.fs,
        gs: r.gs,
    }
}

/// The registers of a thread that goes on in another life: an interrupted call is executed again. One that can't be seen
/// any more (`restart_syscall(2)` hides its number and arguments) ends with `EINTR`.
pub(crate) fn going_on(registers: &Registers) -> Registers {
    let restarting = registers.restarting();
    match restarting {
        Some(call) if call.number == libc::SYS_restart_syscall.unsigned_abs() => Registers {
            rax: u64::from(libc::EINTR.unsigned_abs()).wrapping_neg(),
            ..*registers
        },
        Some(call) => Registers {
            // CRIU keeps the number here, and so does its restore.
            orig_rax: call.number,
            ..registers.executing_again(call)
        },
        None => *registers,
    }
}

/// Whether the area holds state in use that images have no field for.
pub(crate) fn holds_unknown_state(state: &XState) -> bool {
    word(state.as_bytes(), XSTATE_BV) & UNKNOWN_IN_USE != 0
}

/// Vector state, for the images.
pub(crate) fn vector_to_image(state: &XState) -> UserX86FpregsEntry {
    let area = state.as_bytes();
    let small = |at| u32::from(half(area, at));
    UserX86FpregsEntry {
        cwd: small(FCW),
        swd: small(FSW),
        twd: small(FTW) & 0xff,
        fop: small(FOP),
        rip: word(area, FIP),
        rdp: word(area, FDP),
        mxcsr: quarter(area, MXCSR),
        mxcsr_mask: quarter(area, MXCSR_MASK),
        st_space: quarters(area, ST.0, ST.1),
        xmm_space: quarters(area, XMM.0, XMM.1),
        padding: Vec::new(),
        xsave: (area.len() > XSTATE_BV).then(|| xsave(area)),
    }
}

fn xsave(area: &[u8]) -> UserX86XsaveEntry {
    let present = |component, count| words(area, place(component).0, count);
    UserX86XsaveEntry {
        xstate_bv: word(area, XSTATE_BV),
        ymmh_space: quarters(area, place(AVX).0, 64),
        bndreg_state: present(BNDREGS, 8),
        bndcsr_state: present(BNDCSR, 8),
        opmask_reg: present(OPMASK, 8),
        zmm_upper: present(ZMM_UPPER, 64),
        hi16_zmm: present(HI16_ZMM, 128),
        pkru: quarters(area, place(PKRU).0, 2),
        cet: None,
    }
}

/// Vector state, from the images, in an area as long and as wide as `like`. `None` when the images hold state in use that
/// this processor has no place for.
pub(crate) fn vector_from_image(image: &UserX86FpregsEntry, like: &XState) -> Option<XState> {
    let mut area = like.as_bytes().to_vec();
    let software = area.get(464..512)?.to_vec();
    area.fill(0);
    put(&mut area, 464, &software);
    for (at, value) in [
        (FCW, image.cwd),
        (FSW, image.swd),
        (FTW, image.twd),
        (FOP, image.fop),
    ] {
        put(&mut area, at, &value.to_ne_bytes()[..2]);
    }
    put(&mut area, FIP, &image.rip.to_ne_bytes());
    put(&mut area, FDP, &image.rdp.to_ne_bytes());
    put(&mut area, MXCSR, &image.mxcsr.to_ne_bytes());
    put(&mut area, MXCSR_MASK, &image.mxcsr_mask.to_ne_bytes());
    put_quarters(&mut area, ST.0, &image.st_space);
    put_quarters(&mut area, XMM.0, &image.xmm_space);
    let Some(xsave) = &image.xsave else {
        put(&mut area, XSTATE_BV, &3u64.to_ne_bytes());
        return Some(XState::from_bytes(area));
    };
    put(&mut area, XSTATE_BV, &xsave.xstate_bv.to_ne_bytes());
    for (component, values) in [
        (BNDREGS, &xsave.bndreg_state),
        (BNDCSR, &xsave.bndcsr_state),
        (OPMASK, &xsave.opmask_reg),
        (ZMM_UPPER, &xsave.zmm_upper),
        (HI16_ZMM, &xsave.hi16_zmm),
    ] {
        if xsave.xstate_bv >> component & 1 == 1 {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect();
            put_component(&mut area, component, &bytes)?;
        }
    }
    for (component, values) in [(AVX, &xsave.ymmh_space), (PKRU, &xsave.pkru)] {
        if xsave.xstate_bv >> component & 1 == 1 {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect();
            put_component(&mut area, component, &bytes)?;
        }
    }
    Some(XState::from_bytes(area))
}

/// Whether this processor has a place for all vector state in use.
pub(crate) fn vector_fits(image: &UserX86FpregsEntry) -> bool {
    let in_use = image.xsave.as_ref().map_or(0, |xsave| xsave.xstate_bv);
    (2..10)
        .all(|component| in_use >> component & 1 == 0 || component == 8 || place(component).1 > 0)
}

/// Offset and length of a component in an area of the standard format; zeros where the processor has none.
fn place(component: u32) -> (usize, usize) {
    let leaf = __cpuid_count(0xd, component);
    (leaf.ebx as usize, leaf.eax as usize)
}

fn put_component(area: &mut [u8], component: u32, bytes: &[u8]) -> Option<()> {
    let (at, length) = place(component);
    if length == 0 || at < XSTATE_BV || area.len() < at.checked_add(length)? {
        return None;
    }
    put(area, at, bytes.get(..bytes.len().min(length))?);
    Some(())
}

fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(room) = area.get_mut(at..end) {
        room.copy_from_slice(bytes);
    }
}

fn put_quarters(area: &mut [u8], at: usize, values: &[u32]) {
    let bytes: Vec<u8> = values
        .iter()
        .take(64)
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    put(area, at, &bytes);
}

fn bytes_at<const N: usize>(area: &[u8], at: usize) -> [u8; N] {
    let found = area.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().unwrap_or([0; N])
}

fn half(area: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes_at(area, at))
}

fn quarter(area: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes_at(area, at))
}

fn word(area: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes_at(area, at))
}

/// Empty for a component that the processor has not.
fn quarters(area: &[u8], at: usize, count: usize) -> Vec<u32> {
    let length = if at == 0 { 0 } else { count };
    (0..length).map(|i| quarter(area, at + 4 * i)).collect()
}

fn words(area: &[u8], at: usize, count: usize) -> Vec<u64> {
    let length = if at == 0 { 0 } else { count };
    (0..length).map(|i| word(area, at + 8 * i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn state() -> XState {
        let mut area: Vec<u8> = (0..2696u32).map(|i| i.to_le_bytes()[0]).collect();
        area[FTW + 1] = 0;
        area[XSTATE_BV..XSTATE_BV + 64].fill(0);
        let in_use = (0..10u32).filter(|c| *c < 2 || place(*c).1 > 0);
        let bits = in_use.fold(0u64, |bits, c| bits | 1 << c) & KNOWN;
        area[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&bits.to_ne_bytes());
        XState::from_bytes(area)
    }

    #[test]
    fn every_component_comes_back() {
        let state = state();
        let image = vector_to_image(&state);
        let back = vector_from_image(&image, &state).unwrap();
        assert_eq!(vector_to_image(&back), image);
        let (at, length) = place(AVX);
        if length > 0 {
            assert_eq!(
                back.as_bytes()[at..at + length],
                state.as_bytes()[at..at + length]
            );
        }
    }

    #[test]
    fn state_without_a_field_is_seen() {
        let mut area = vec![0; 2696];
        area[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&(1u64 << 18).to_ne_bytes());
        assert!(holds_unknown_state(&XState::from_bytes(area)));
        assert!(!holds_unknown_state(&state()));
    }

    #[test]
    fn general_registers_come_back_outside_of_calls() {
        let mut registers = Registers::new_zeroed();
        (registers.rax, registers.rip, registers.fs_base) = (5, 0x1234, 0x7000);
        let back = general_from_image(&general_to_image(&registers));
        assert_eq!(
            back,
            Registers {
                orig_rax: u64::MAX,
                ..registers
            }
        );
    }

    #[test]
    fn an_interrupted_call_is_executed_again() {
        let mut registers = Registers::new_zeroed();
        (registers.rax, registers.orig_rax, registers.rip) = (512u64.wrapping_neg(), 35, 0x1002);
        let on = going_on(&registers);
        assert_eq!((on.rax, on.rip, on.orig_rax), (35, 0x1000, 35));
        (registers.rax, registers.orig_rax) = (516u64.wrapping_neg(), 219);
        let on = going_on(&registers);
        assert_eq!((on.rax, on.rip), (4u64.wrapping_neg(), 0x1002));
    }
}
