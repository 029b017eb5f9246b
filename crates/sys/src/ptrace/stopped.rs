//! A thread in a ptrace stop: the only state in which it can be looked into and changed.

use super::request::{self, get_regset, plain, set_regset};
use super::{Error, Event, Options, Queue, Registers, Running, SigInfo, SyscallInfo, XState};
use linux_raw_sys::{elf_uapi, ptrace as p};
use rustix::io::Errno;
use rustix::process::Pid;
use std::marker::PhantomData;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A thread in a ptrace stop. Dropping it lets it go as it was.
#[derive(Debug)]
pub struct Stopped {
    pub(super) tid: Pid,
    pub(super) event: Event,
    pub(super) of_this_thread: PhantomData<*const ()>,
}

/// The signals a thread blocks: bit `n - 1` stands for signal `n`, as in `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalMask(pub u64);

impl SignalMask {
    /// Every signal that can be blocked.
    pub const ALL: Self = Self(u64::MAX);
}

/// Where a thread registered its restartable sequence area (`rseq(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RseqConfiguration {
    /// Address of its `struct rseq`; 0 when it has none.
    pub address: u64,
    /// Length of that in bytes.
    pub length_bytes: u32,
    /// The word that precedes every abort handler.
    pub signature: u32,
}

/// `struct ptrace_rseq_configuration`.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct RawRseqConfiguration {
    address: u64,
    length_bytes: u32,
    signature: u32,
    flags: u32,
    pad: u32,
}

impl Stopped {
    /// The thread's id.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// Which stop it is in.
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }

    /// `PTRACE_CONT`: runs on; the signal that was being delivered is delivered.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn resume(self) -> Result<Running, Error> {
        self.restart("resume", p::PTRACE_CONT)
    }

    /// `PTRACE_SYSCALL`: runs until it enters or leaves a system call; delivers as [`Stopped::resume`].
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn resume_to_syscall(self) -> Result<Running, Error> {
        self.restart("resume to a system call", p::PTRACE_SYSCALL)
    }

    /// `PTRACE_LISTEN`: lets a thread in a group stop stand as job control wants it, and still hear SIGCONT.
    ///
    /// # Errors
    /// `EIO` when it is in no group stop.
    pub fn listen(self) -> Result<Running, Error> {
        self.restart("listen to", p::PTRACE_LISTEN)
    }

    /// `PTRACE_DETACH`: lets it go; delivers as [`Stopped::resume`]. A process that job control had stopped
    /// stays stopped.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn detach(self) -> Result<(), Error> {
        let detached = self.let_go();
        match &detached {
            Ok(()) => std::mem::forget(self),
            Err(_) => drop(self),
        }
        detached
    }

    fn let_go(&self) -> Result<(), Error> {
        plain("detach from", p::PTRACE_DETACH, self.tid, 0, self.signal())
    }

    fn restart(self, operation: &'static str, request: u32) -> Result<Running, Error> {
        let signal = if request == p::PTRACE_LISTEN {
            0
        } else {
            self.signal()
        };
        let tid = self.tid;
        let restarted = plain(operation, request, tid, 0, signal);
        match restarted {
            Ok(()) => {
                std::mem::forget(self);
                Ok(Running::born(tid))
            }
            Err(error) => Err(error), // and dropped: let go, or its end taken note of
        }
    }

    /// The signal that is being delivered, as `ptrace(2)` wants it; 0 for none.
    fn signal(&self) -> usize {
        match self.event {
            Event::SignalDelivery(signal) => usize::try_from(signal).unwrap_or_default(),
            _ => 0,
        }
    }

    /// `PTRACE_INTERRUPT` ahead of time: once resumed, it stops again before it reaches user space.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn interrupt_next(&self) -> Result<(), Error> {
        plain("interrupt", p::PTRACE_INTERRUPT, self.tid, 0, 0)
    }

    /// `PTRACE_SETOPTIONS`.
    ///
    /// # Errors
    /// `EPERM` for [`Options::SUSPEND_SECCOMP`] without CAP_SYS_ADMIN.
    pub fn set_options(&self, options: Options) -> Result<(), Error> {
        let bits = options.bits() as usize;
        plain(
            "set the options of",
            p::PTRACE_SETOPTIONS,
            self.tid,
            0,
            bits,
        )
    }

    /// `PTRACE_GETEVENTMSG`: what goes with the event.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn event_message(&self) -> Result<u64, Error> {
        let mut message = [0u64];
        request::read(
            "ask about",
            p::PTRACE_GETEVENTMSG,
            self.tid,
            0,
            &mut message,
        )?;
        let [message] = message;
        Ok(message)
    }

    /// The process or thread it just made ([`Event::Fork`]), as our pid namespace numbers it.
    #[must_use]
    pub fn child(&self) -> Option<Pid> {
        (self.event == Event::Fork).then_some(())?;
        Pid::from_raw(i32::try_from(self.event_message().ok()?).ok()?)
    }

    /// The general registers (`NT_PRSTATUS`).
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a thread of another width (a 32-bit one: its set is shorter).
    pub fn registers(&self) -> Result<Registers, Error> {
        let mut registers = Registers::new_zeroed();
        let length = get_regset(self.tid, elf_uapi::NT_PRSTATUS, registers.as_mut_bytes())?;
        if length != size_of::<Registers>() {
            return Err(Error {
                operation: "understand the registers of",
                tid: self.tid,
                errno: Errno::OPNOTSUPP,
            });
        }
        Ok(registers)
    }

    /// Sets the general registers.
    ///
    /// # Errors
    /// `EIO` when the kernel refuses a value (a privileged segment).
    pub fn set_registers(&self, registers: &Registers) -> Result<(), Error> {
        set_regset(self.tid, elf_uapi::NT_PRSTATUS, registers.as_bytes())
    }

    /// All vector and extended state (`NT_X86_XSTATE`), as long as this CPU makes it.
    ///
    /// # Errors
    /// `ENODEV` on a CPU without `XSAVE`.
    pub fn xstate(&self) -> Result<XState, Error> {
        let mut bytes = vec![0; 4096];
        loop {
            let length = get_regset(self.tid, elf_uapi::NT_X86_XSTATE, &mut bytes)?;
            if length < bytes.len() {
                bytes.truncate(length);
                return Ok(XState(bytes));
            }
            bytes.resize(bytes.len().saturating_mul(2), 0);
        }
    }

    /// Sets what [`Stopped::xstate`] gave.
    ///
    /// # Errors
    /// `EINVAL` for a state that this CPU can't hold.
    pub fn set_xstate(&self, state: &XState) -> Result<(), Error> {
        set_regset(self.tid, elf_uapi::NT_X86_XSTATE, &state.0)
    }

    /// The signals it blocks (`PTRACE_GETSIGMASK`).
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn signal_mask(&self) -> Result<SignalMask, Error> {
        let mut mask = [0u64];
        let operation = "read the signal mask of";
        request::read(operation, p::PTRACE_GETSIGMASK, self.tid, 8, &mut mask)?;
        let [mask] = mask;
        Ok(SignalMask(mask))
    }

    /// Sets the signals it blocks (`PTRACE_SETSIGMASK`); the kernel leaves out SIGKILL and SIGSTOP.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn set_signal_mask(&self, mask: SignalMask) -> Result<(), Error> {
        let operation = "set the signal mask of";
        request::write(operation, p::PTRACE_SETSIGMASK, self.tid, 8, &mask.0)
    }

    /// The signals that wait for it, oldest first, none taken out (`PTRACE_PEEKSIGINFO`).
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn pending(&self, queue: Queue) -> Result<Vec<SigInfo>, Error> {
        super::siginfo::peek(self.tid, queue)
    }

    /// Where it is in which system call (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3).
    ///
    /// # Errors
    /// `EIO` on older kernels.
    pub fn syscall_info(&self) -> Result<SyscallInfo, Error> {
        let mut bytes = [0u8; SyscallInfo::BYTES];
        let operation = "ask for the system call of";
        let request = p::PTRACE_GET_SYSCALL_INFO;
        request::read(operation, request, self.tid, bytes.len(), &mut bytes)?;
        Ok(SyscallInfo::decode(&bytes))
    }

    /// The program of one of its seccomp filters, 0 being the one that was installed first; `None` behind the last
    /// (`PTRACE_SECCOMP_GET_FILTER`, Linux 4.4).
    ///
    /// # Errors
    /// `EACCES`: without CAP_SYS_ADMIN, or under seccomp ourselves; `EINVAL`: it has none at all.
    pub fn seccomp_filter(&self, number: usize) -> Result<Option<SeccompFilter>, Error> {
        const MOST: usize = 4096; // BPF_MAXINSNS
        let mut program = vec![0u64; MOST];
        let request = p::PTRACE_SECCOMP_GET_FILTER;
        let operation = "read a seccomp filter of";
        match request::read(operation, request, self.tid, number, &mut program) {
            Ok(length) => program.truncate(length),
            Err(error) if error.errno == Errno::NOENT => return Ok(None),
            Err(error) => return Err(error),
        }
        // struct seccomp_metadata: which, and its flags (Linux 4.16).
        let mut metadata = [number as u64, 0];
        let request = p::PTRACE_SECCOMP_GET_METADATA;
        let asked = request::read(
            operation,
            request,
            self.tid,
            size_of_val(&metadata),
            &mut metadata,
        );
        let [_, flags] = metadata;
        Ok(Some(SeccompFilter {
            program: program.as_bytes().to_vec(),
            flags: asked.map_or(0, |_| u32::try_from(flags).unwrap_or(0)),
        }))
    }

    /// Where its restartable sequences are registered (`PTRACE_GET_RSEQ_CONFIGURATION`, Linux 5.13).
    ///
    /// # Errors
    /// `EIO` on kernels without it.
    pub fn rseq(&self) -> Result<RseqConfiguration, Error> {
        let mut raw = [RawRseqConfiguration::new_zeroed()];
        let operation = "ask for the rseq area of";
        let request = p::PTRACE_GET_RSEQ_CONFIGURATION;
        request::read(operation, request, self.tid, size_of_val(&raw), &mut raw)?;
        let [raw] = raw;
        Ok(RseqConfiguration {
            address: raw.address,
            length_bytes: raw.length_bytes,
            signature: raw.signature,
        })
    }
}

/// A filter of system calls (`seccomp(2)`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeccompFilter {
    /// Instructions of classic BPF, 8 bytes each.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_LOG`, or nothing.
    pub flags: u32,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.let_go().is_err_and(|error| error.is_gone()) {
            // Killed under our hands. Its parent is told only when we, its tracer, have taken note.
            super::running::take_note_of_end(self.tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RawRseqConfiguration as Ours, p::ptrace_rseq_configuration as Kernel};
    use std::mem::offset_of;

    #[test]
    fn the_rseq_layout_is_the_kernels() {
        assert_eq!(size_of::<Ours>(), size_of::<Kernel>());
        assert_eq!(
            offset_of!(Ours, length_bytes),
            offset_of!(Kernel, rseq_abi_size)
        );
        assert_eq!(offset_of!(Ours, signature), offset_of!(Kernel, signature));
    }
}
