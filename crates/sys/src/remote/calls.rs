//! A stopped thread that executes calls for us, one at a time.

use super::frame::{self, Frame};
use super::site::WayHome;
use super::{Error, Site, Syscall, rseq};
use crate::ptrace::{Event, Registers, SignalMask, Stopped, SyscallInfo, Wait, WaitTimeout};
use crate::{Span, vm};
use rustix::io::Errno;
use rustix::process::Pid;
use std::time::Duration;

/// Where the frame that leads a thread home may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Below the thread's own stack pointer and red zone, down to this address: only where that is surely a
    /// stack of the kernel's making (`[stack]`), for small stacks of language runtimes end in other data.
    Stack(u64),
    /// In these bytes, which are the surgeon's own: a mapping made by a call before.
    Own(Span),
    /// Nowhere: a thread that loses us in the middle of a call is lost.
    None,
}

/// A thread can't be used; it is given back as it was.
#[derive(Debug)]
pub struct Refused {
    /// The thread.
    pub thread: Stopped,
    /// Why.
    pub why: Error,
}

/// A stopped thread prepared for calls. Between calls its registers and its signal mask are its own, but for calls
/// [in a row](Self::in_a_row); dropping this puts back the bytes below its stack, too, and lets it go.
#[derive(Debug)]
pub struct Calls {
    /// `None` once the thread died.
    thread: Option<Stopped>,
    tid: Pid,
    own: Registers,
    mask: SignalMask,
    /// What a call starts from: the own registers, or ones that lead home.
    injected: Registers,
    written: Option<Written>,
    /// Who was made by the last call, as our pid namespace numbers it.
    born: Option<Pid>,
    between: Between,
}

/// How a thread waits for the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// As it stood before the first one.
    Standing,
    /// As [`Self::Standing`], until the first call is made.
    InARow,
    /// Just behind a call, its registers and its mask ours.
    BehindCall,
}

/// What lay where the frame was written.
#[derive(Debug)]
struct Written {
    address: u64,
    before: Vec<u8>,
}

/// How long one step of a call may take: what is asked of a target takes milliseconds, unless its disk, or the file
/// system that its memory comes from, does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a call that signals interrupt is tried again.
const TRIES: u32 = 100;
/// `ERESTARTSYS` and what follows: the kernel's own errors for an interrupted call.
const RESTARTS: std::ops::RangeInclusive<u64> = 512..=516;
/// The largest error number there is.
const MAX_ERRNO: u64 = 4095;

impl Calls {
    /// Prepares a thread that stands still ([`Event::Interrupted`] or [`Event::GroupStop`]).
    ///
    /// # Errors
    /// With the thread, as it was: 32-bit (`EOPNOTSUPP`), gone, or its memory can't be read.
    pub fn begin(thread: Stopped, site: &Site, room: Room) -> Result<Self, Refused> {
        match Prepared::new(&thread, site, room) {
            Ok(ready) => Ok(Self {
                tid: thread.tid(),
                thread: Some(thread),
                own: ready.own,
                mask: ready.mask,
                injected: ready.injected,
                written: ready.written,
                born: None,
                between: Between::Standing,
            }),
            Err(why) => Err(Refused { thread, why }),
        }
    }

    /// Calls that follow each other closely: the thread is left where each ends, with all signals held back, and gets its own
    /// registers and mask when they are [finished](Self::finish). Two stops a call instead of three; for threads that
    /// nobody misses meanwhile.
    #[must_use]
    pub fn in_a_row(mut self) -> Self {
        self.between = Between::InARow;
        self
    }

    /// The thread's id.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// Whether the thread goes on unharmed when we are killed in the middle of a call.
    #[must_use]
    pub fn survives_us(&self) -> bool {
        self.written.is_some()
    }

    /// Executes one call and gives what it returned. The thread stands where it stood afterwards, but in a row.
    ///
    /// # Errors
    /// The outer error: the call was not made, or nobody knows; the inner one: what the kernel answered.
    pub fn call(&mut self, call: Syscall) -> Result<Result<u64, Errno>, Error> {
        for _ in 0..TRIES {
            let result = self.once(call)?;
            let error = result.wrapping_neg();
            if !RESTARTS.contains(&error) {
                return Ok(match i32::try_from(error) {
                    Ok(errno) if error <= MAX_ERRNO && errno != 0 => {
                        Err(Errno::from_raw_os_error(errno))
                    }
                    _ => Ok(result),
                });
            }
        }
        Err(Error::Interrupted {
            tid: self.tid,
            times: TRIES,
        })
    }

    /// The stopped thread, and its own registers.
    pub(super) fn standing(&self) -> Result<(&Stopped, &Registers), Error> {
        let thread = self.thread.as_ref();
        let thread = thread.ok_or(Error::Died { tid: self.tid })?;
        Ok((thread, &self.own))
    }

    /// Who was made by a call since this was asked last, as our pid namespace numbers it.
    pub(super) fn take_born(&mut self) -> Option<Pid> {
        self.born.take()
    }

    /// Gives the stopped thread back, with all as it was.
    ///
    /// # Errors
    /// [`Error::Died`].
    pub fn finish(mut self) -> Result<Stopped, Error> {
        let stands = self.stand();
        self.put_back();
        stands?;
        self.thread.take().ok_or(Error::Died { tid: self.tid })
    }

    /// The order of the changes is what makes our death harmless: registers that lead home come before the mask
    /// is closed, and the mask is opened before they go.
    fn once(&mut self, call: Syscall) -> Result<u64, Error> {
        let thread = self.thread.take().ok_or(Error::Died { tid: self.tid })?;
        thread.set_registers(&self.injected.calling(call))?;
        if self.between != Between::BehindCall {
            thread.set_signal_mask(SignalMask::ALL)?;
        }
        let (thread, result) = execute(thread, call, &mut self.born)?;
        self.thread = Some(thread);
        let comes_next = std::mem::replace(&mut self.between, Between::BehindCall);
        if comes_next == Between::Standing {
            self.stand()?;
        }
        result
    }

    /// Brings the thread from behind a call to where it stood before, with what is its own.
    fn stand(&mut self) -> Result<(), Error> {
        if self.between != Between::BehindCall {
            return Ok(());
        }
        let thread = self.thread.take().ok_or(Error::Died { tid: self.tid })?;
        let thread = run_until(
            thread,
            Event::is_standing,
            |thread| {
                thread.interrupt_next()?;
                thread.resume()
            },
            drop,
        )?;
        thread.set_signal_mask(self.mask)?;
        thread.set_registers(&self.own)?;
        self.thread = Some(thread);
        self.between = Between::Standing;
        Ok(())
    }

    fn put_back(&mut self) {
        if let Some(written) = self.written.take() {
            // What is gone needs nothing back, and what could be written once can be again.
            let _ = vm::write(self.tid, written.address, &written.before);
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // What is gone stands no more.
        let _ = self.stand();
        self.put_back();
    }
}

/// Runs a thread with the registers set through one system call, into the stop behind it.
fn execute(
    thread: Stopped,
    call: Syscall,
    born: &mut Option<Pid>,
) -> Result<(Stopped, Result<u64, Error>), Error> {
    let mut to_boundary = |thread| {
        let resume = Stopped::resume_to_syscall;
        run_until(thread, Event::is_syscall, resume, |child| {
            *born = Some(child);
        })
    };
    let thread = to_boundary(thread)?;
    let result = match thread.syscall_info()? {
        SyscallInfo::Entry { number, .. } if number == call.number => Ok(()),
        _ => Err(Error::Astray { tid: thread.tid() }),
    };
    let thread = to_boundary(thread)?;
    let result = result.and_then(|()| Ok(thread.registers()?.rax));
    Ok((thread, result))
}

/// Resumes a thread until it stops as wanted. Other stops (SIGSTOP, which no mask holds back; the group stop that
/// follows) are passed on as they come, and who is `born` meanwhile is told of.
pub(super) fn run_until(
    mut thread: Stopped,
    wanted: impl Fn(Event) -> bool,
    resume: impl Fn(Stopped) -> Result<crate::ptrace::Running, crate::ptrace::Error>,
    mut born: impl FnMut(Pid),
) -> Result<Stopped, Error> {
    let tid = thread.tid();
    loop {
        let running = match resume(thread) {
            Err(error) if error.is_gone() => return Err(Error::Died { tid }),
            running => running?,
        };
        thread = match running.wait_for(PATIENCE)? {
            Ok(Wait::Stopped(thread)) if wanted(thread.event()) => return Ok(thread),
            Ok(Wait::Stopped(thread)) => {
                thread.child().map(&mut born);
                thread
            }
            Ok(Wait::Exited(_)) => return Err(Error::Died { tid }),
            // Let go of, it finishes the call and goes the way home by itself.
            Err(WaitTimeout(_)) => {
                return Err(Error::Stuck {
                    tid,
                    waited: PATIENCE,
                });
            }
        };
    }
}

/// All that is read of a thread, and written below its stack, before its first call.
struct Prepared {
    own: Registers,
    mask: SignalMask,
    injected: Registers,
    written: Option<Written>,
}

impl Prepared {
    fn new(thread: &Stopped, site: &Site, room: Room) -> Result<Self, Error> {
        let mut own = thread.registers()?;
        if !own.is_64_bit() {
            return Err(Error::Ptrace(crate::ptrace::Error {
                operation: "work in 32-bit code of",
                tid: thread.tid(),
                errno: Errno::OPNOTSUPP,
            }));
        }
        if let Some(abort) = rseq::abort_address(thread, own.rip)? {
            own.rip = abort;
        }
        let mask = thread.signal_mask()?;
        let mut injected = own;
        injected.rip = site.syscall;
        let written = match site.way_home {
            Some(way_home) => lead_home(thread, &own, mask, way_home, room, &mut injected)?,
            None => None,
        };
        Ok(Self {
            own,
            mask,
            injected,
            written,
        })
    }
}

/// Writes the frame, where there is room, and turns `injected` towards it.
fn lead_home(
    thread: &Stopped,
    own: &Registers,
    mask: SignalMask,
    way_home: WayHome,
    room: Room,
    injected: &mut Registers,
) -> Result<Option<Written>, Error> {
    let xstate = thread.xstate()?;
    let (lowest, top) = match room {
        Room::Stack(lowest) => (lowest, frame::below_red_zone(own.rsp)),
        Room::Own(span) => (span.start, span.end),
        Room::None => return Ok(None),
    };
    if top.saturating_sub(lowest) < frame::room_bytes(&xstate) {
        return Ok(None);
    }
    let Some(frame) = frame::build(top, way_home.restorer, own, mask, &xstate) else {
        return Ok(None);
    };
    let written = write_keeping(thread.tid(), &frame)?;
    injected.rip = way_home.syscall_ret;
    injected.rsp = frame.address;
    Ok(Some(written))
}

fn write_keeping(tid: Pid, frame: &Frame) -> Result<Written, Error> {
    let failed = |operation, errno| Error::Memory {
        operation,
        tid,
        address: frame.address,
        errno,
    };
    let mut before = vec![0; frame.bytes.len()];
    let span = Span::new(frame.address, before.len() as u64);
    let whole = |done: usize| {
        if done == frame.bytes.len() {
            Ok(())
        } else {
            Err(Errno::FAULT)
        }
    };
    vm::read(tid, &[span], &mut before)
        .and_then(whole)
        .map_err(|errno| failed("read the stack", errno))?;
    vm::write(tid, frame.address, &frame.bytes)
        .and_then(whole)
        .map_err(|errno| failed("write a frame", errno))?;
    Ok(Written {
        address: frame.address,
        before,
    })
}
