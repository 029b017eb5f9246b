//! Sleeps that a stop would cut short with `EINTR`, and that are begun again instead.
//!
//! Most interrupted system calls restart by themselves when no handler ran: the kernel remembers how. A few
//! answer `EINTR` to any interruption, a stop included (`signal(7)`, "Interruption of system calls and library
//! functions by stop signals"): a program that is merely frozen, or looked at by a debugger, sees an error that
//! no signal of its own explains. Where no signal waits for the thread, nothing but the stop can have been the
//! cause, and the call, which did nothing yet, is set to be executed again. Its timeout begins anew.

use super::{Error, Queue, Stopped};

/// The calls that answer `EINTR` to a stop while they have done nothing.
const CUT_SHORT: [libc::c_long; 15] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
    libc::SYS_io_uring_enter,
    // Sockets with SO_RCVTIMEO or SO_SNDTIMEO.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
];

impl Stopped {
    /// Sets a call that this stop cut short to be executed again. True where there was one.
    ///
    /// # Errors
    /// None but that it is gone.
    pub fn hide_interruption(&self) -> Result<bool, Error> {
        let registers = self.registers()?;
        let Some(call) = registers.cut_short() else {
            return Ok(false);
        };
        let known = |number: &libc::c_long| number.unsigned_abs() == call.number;
        if !registers.is_64_bit() || !CUT_SHORT.iter().any(known) || self.signal_is_due()? {
            return Ok(false);
        }
        self.set_registers(&registers.executing_again(call))?;
        Ok(true)
    }

    /// Whether a signal that the thread does not block is on its way to it.
    fn signal_is_due(&self) -> Result<bool, Error> {
        let blocked = self.signal_mask()?.0;
        let due = |signal: i32| {
            let bit = u32::try_from(signal).ok().and_then(|s| s.checked_sub(1));
            bit.is_some_and(|bit| blocked.checked_shr(bit).unwrap_or(0) & 1 == 0)
        };
        for queue in [Queue::Thread, Queue::Process] {
            if self.pending(queue)?.iter().any(|info| due(info.signal())) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
