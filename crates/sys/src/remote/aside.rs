//! A thread that a process makes for us, in its memory but with a descriptor table of its own (`clone(2)` without
//! `CLONE_FILES`): what it opens, the process itself never holds.
//!
//! All that it can do is end. It is born on a stack that begins with a frame (see [`frame`]), and the `ret` behind the borrowed
//! `syscall` leads it through that to `exit(2)`; so does the way home of any call that it executes. Whether we let it go or die, it
//! goes there, its descriptor table with it, and the kernel reaps it as it does any thread.
//!
//! It is a thread of the process for that long (`/proc/PID/task`), counts against its limits, and has its credentials and filters.

use super::calls::{PATIENCE, run_until};
use super::frame;
use super::{Calls, Error, Room, Site, Syscall};
use crate::ptrace::{Registers, Running, SignalMask, Stopped, Wait, WaitTimeout};
use crate::{Span, vm};
use rustix::io::Errno;
use rustix::process::Pid;

/// What it shares with the others of its process: all that a thread must, and not the descriptor table. Without
/// `CLONE_SYSVSEM`, which would give the whole process a list of semaphores to undo.
const SHARED: i32 = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD;

/// Such a thread, standing. Dropping it lets it go to its end, which nobody waits for then.
#[derive(Debug)]
pub struct Aside {
    calls: Calls,
}

impl Calls {
    /// Makes such a thread. `room` are bytes of the surgeon's own, writable, that stay until the thread is gone.
    ///
    /// # Errors
    /// The inner one: the kernel makes none (`EAGAIN`: a limit), or the process has no instructions that lead it to its end
    /// (`EOPNOTSUPP`). The outer one: nobody knows whether there is one now, and `room` is not ours again.
    pub fn aside(&mut self, site: &Site, room: Span) -> Result<Result<Aside, Errno>, Error> {
        let (thread, own) = self.standing()?;
        let (tid, xstate) = (thread.tid(), thread.xstate()?);
        let leaving = Registers {
            rip: site.syscall(),
            ..own.calling(Syscall::new(libc::SYS_exit, [0]))
        };
        let way_out = site.way_home.and_then(|way_home| {
            frame::build(
                room.end,
                way_home.restorer,
                &leaving,
                SignalMask::ALL,
                &xstate,
            )
        });
        let Some(way_out) = way_out.filter(|frame| room.contains(frame.address)) else {
            return Ok(Err(Errno::OPNOTSUPP));
        };
        let written = vm::write(tid, way_out.address, &way_out.bytes);
        if written != Ok(way_out.bytes.len()) {
            return Ok(Err(written.err().unwrap_or(Errno::FAULT)));
        }
        let flags = u64::from(SHARED.unsigned_abs());
        self.take_born();
        if let Err(errno) = self.call(Syscall::new(libc::SYS_clone, [flags, way_out.address]))? {
            return Ok(Err(errno));
        }
        let born = self.take_born().ok_or(Error::Astray { tid })?;
        let thread = first_stop(born)?;
        let below = Span {
            end: way_out.address,
            ..room
        };
        let calls = Self::begin(thread, site, Room::Own(below)).map_err(|refused| refused.why)?;
        Ok(Ok(Aside { calls }))
    }
}

impl Aside {
    /// Its id.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.calls.tid()
    }

    /// As [`Calls::call`].
    ///
    /// # Errors
    /// As there.
    pub fn call(&mut self, call: Syscall) -> Result<Result<u64, Errno>, Error> {
        self.calls.call(call)
    }

    /// Lets it go to its end, and waits for that.
    ///
    /// # Errors
    /// It has not come there, and may still be on its way.
    pub fn end(self) -> Result<(), Error> {
        let thread = self.calls.finish()?;
        match run_until(thread, |_| false, Stopped::resume, drop) {
            Err(Error::Died { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Who was born held comes to a stop of its own.
fn first_stop(tid: Pid) -> Result<Stopped, Error> {
    match Running::born(tid).wait_for(PATIENCE)? {
        Ok(Wait::Stopped(thread)) => Ok(thread),
        Ok(Wait::Exited(_)) => Err(Error::Died { tid }),
        Err(WaitTimeout(_)) => Err(Error::Stuck {
            tid,
            waited: PATIENCE,
        }),
    }
}
