//! The registers of a stopped thread on x86-64: `NT_PRSTATUS` as words, the vector state as bytes.
//!
//! Other architectures get a file of their own beside this one; until then the build says so.

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "Plimsoll's surgery knows only x86-64 so far: ptrace/registers.rs and remote/x86_64.rs are to be written for this architecture"
);

use crate::remote::Syscall;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The general registers, in the kernel's order (`arch/x86/include/asm/user_64.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call being executed, or -1; what decides whether an interrupted call restarts.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// The code segment of a 64-bit thread (`__USER_CS`).
const USER_CS: u64 = 0x33;
/// Marks system calls of the x32 ABI (`__X32_SYSCALL_BIT`).
const X32_SYSCALL_BIT: u64 = 1 << 30;
/// The error of an interrupted call that is over.
const EINTR: u64 = 4;
/// `orig_rax` outside system calls.
const NO_SYSCALL: u64 = u64::MAX;

impl Registers {
    /// The thread's width, where surgery can work on it: 64-bit code, no x32 call under way.
    #[must_use]
    pub fn is_64_bit(&self) -> bool {
        let x32 = self.orig_rax != NO_SYSCALL && self.orig_rax & X32_SYSCALL_BIT != 0;
        self.cs == USER_CS && !x32
    }

    /// These registers about to execute `call` at `rip`, which must hold a `syscall` instruction. Outside any
    /// call, so that the kernel restarts nothing.
    #[must_use]
    pub fn calling(&self, call: Syscall) -> Self {
        let [rdi, rsi, rdx, r10, r8, r9] = call.args;
        Self {
            rax: call.number,
            orig_rax: NO_SYSCALL,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..*self
        }
    }

    /// The system call that was interrupted and that the kernel means to restart, each in its way
    /// (`ERESTARTSYS` 512, `ERESTARTNOINTR` 513, `ERESTARTNOHAND` 514, `ERESTART_RESTARTBLOCK` 516).
    #[must_use]
    pub fn restarting(&self) -> Option<Syscall> {
        let restarts = matches!(self.rax.wrapping_neg(), 512 | 513 | 514 | 516);
        restarts.then(|| self.call())?
    }

    /// The system call that ended with `EINTR`.
    #[must_use]
    pub fn cut_short(&self) -> Option<Syscall> {
        (self.rax.wrapping_neg() == EINTR).then(|| self.call())?
    }

    /// The system call that was interrupted, whichever way it goes on.
    #[must_use]
    pub fn interrupted(&self) -> Option<Syscall> {
        self.restarting().or_else(|| self.cut_short())
    }

    /// These registers about to execute again the call they come from: the two bytes of its `syscall`
    /// instruction lie just before `rip`.
    #[must_use]
    pub fn executing_again(&self, call: Syscall) -> Self {
        Self {
            rax: call.number,
            orig_rax: NO_SYSCALL,
            rip: self.rip.wrapping_sub(2),
            ..*self
        }
    }

    /// The system call that the stop found the thread in, whatever became of it: one that had done a part of its work
    /// ends with that.
    #[must_use]
    pub fn call(&self) -> Option<Syscall> {
        (self.orig_rax != NO_SYSCALL).then_some(Syscall {
            number: self.orig_rax,
            args: [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9],
        })
    }
}

/// Vector and extended state in `XSAVE`'s standard format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XState(pub(super) Vec<u8>);

impl XState {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A state kept elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Registers;
    use std::mem::offset_of;

    #[test]
    fn the_layout_is_the_kernels() {
        type Kernel = libc::user_regs_struct;
        assert_eq!(size_of::<Registers>(), size_of::<Kernel>());
        assert_eq!(offset_of!(Registers, rax), offset_of!(Kernel, rax));
        assert_eq!(
            offset_of!(Registers, orig_rax),
            offset_of!(Kernel, orig_rax)
        );
        assert_eq!(offset_of!(Registers, rip), offset_of!(Kernel, rip));
        assert_eq!(offset_of!(Registers, rsp), offset_of!(Kernel, rsp));
        assert_eq!(offset_of!(Registers, gs), offset_of!(Kernel, gs));
    }
}
