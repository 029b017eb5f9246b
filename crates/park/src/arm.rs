//! A userfaultfd in the target: made there by a remote call, moved out of the way of its own descriptors, and
//! a duplicate of it here.
//!
//! It is made by `userfaultfd(2)` where the process may, else through `/dev/userfaultfd` where we may open that (Linux
//! 6.1) and hand it over: who holds the device needs no privilege. Never for user-mode faults only, under which a `read(2)` into a parked buffer would fail. It is close-on-exec: `execve(2)`
//! ends the memory that it serves.

use crate::{ParkError, hand};
use plimsoll_proc::Root;
use plimsoll_surgery::operate::Operation;
use plimsoll_surgery::stop::StoppedProcess;
use plimsoll_sys::remote::Syscall;
use plimsoll_sys::uffd::{CreateFlags, DEVICE, Features, IOC_NEW, Uffd};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// What is to be told: everything that would make an absent page mean something else.
pub(crate) const FEATURES: Features = Features::EVENT_FORK
    .union(Features::EVENT_REMAP)
    .union(Features::EVENT_REMOVE)
    .union(Features::EVENT_UNMAP);

/// Numbers that a program's own descriptors rarely reach, tried in this order: the first that the process's limit
/// allows.
pub const HIGH: [u64; 3] = [1000, 240, 48];

/// Makes one; gives its number in the target. Nothing is armed by it yet.
pub(crate) fn create(operation: &mut Operation<'_>) -> Result<i32, ParkError> {
    let pid = operation.pid();
    let flags = u64::from((CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).bits());
    let by_call = operation.try_call(Syscall::new(libc::SYS_userfaultfd, [flags]))?;
    let made = match by_call {
        Ok(fd) => Ok(fd),
        Err(_) => by_device(operation, flags)?,
    };
    let low = made.map_err(|source| ParkError::NoUserfaultfd { pid, source })?;
    out_of_the_way(operation, low)
}

/// Gives a descriptor of the target a higher number.
pub(crate) fn out_of_the_way(operation: &mut Operation<'_>, low: u64) -> Result<i32, ParkError> {
    for least in HIGH {
        let args = [low, libc::F_DUPFD_CLOEXEC.unsigned_abs().into(), least];
        if let Ok(high) = operation.try_call(Syscall::new(libc::SYS_fcntl, args))? {
            close(operation, low)?;
            return Ok(number(high));
        }
    }
    Ok(number(low))
}

fn by_device(operation: &mut Operation<'_>, flags: u64) -> Result<Result<u64, Errno>, ParkError> {
    let device = match rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) => device,
        Err(errno) => return Ok(Err(errno)),
    };
    let device = match hand::over(operation, device.as_fd())? {
        Ok(device) => device,
        Err(errno) => return Ok(Err(errno)),
    };
    let made = operation.try_call(Syscall::new(
        libc::SYS_ioctl,
        [device, IOC_NEW.into(), flags],
    ))?;
    close(operation, device)?;
    Ok(made)
}

/// Closes a descriptor in the target.
pub(crate) fn close(operation: &mut Operation<'_>, fd: u64) -> Result<(), ParkError> {
    operation
        .try_call(Syscall::new(libc::SYS_close, [fd]))?
        .ok();
    Ok(())
}

/// Our own duplicate of the target's descriptor, fresh from [`create`].
pub(crate) fn take(pid: u32, number: i32) -> Result<Uffd, ParkError> {
    let fd = duplicate(pid, number)?;
    Uffd::handshake(fd, FEATURES).map_err(|error| ParkError::NoUserfaultfd {
        pid,
        source: error.errno,
    })
}

/// Our own duplicate of a descriptor that has been in use.
pub(crate) fn take_again(pid: u32, number: i32) -> Result<Uffd, ParkError> {
    Ok(Uffd::resumed(duplicate(pid, number)?, FEATURES))
}

/// The numbers of all userfaultfds that a process holds. One that is parked had none before, so all are ours, whatever
/// was written down when its plimsoll was killed.
pub(crate) fn held(root: &Root, pid: u32) -> Result<Vec<i32>, ParkError> {
    let names = match root.list(format!("proc/{pid}/fd")) {
        Err(error) if error.is_gone() => return Ok(Vec::new()),
        names => names?,
    };
    let is_one = |name: &std::ffi::OsString| {
        let link = std::fs::read_link(std::path::Path::new(&format!("/proc/{pid}/fd")).join(name));
        link.is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]")
    };
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    Ok(names
        .into_iter()
        .filter(is_one)
        .filter_map(number)
        .collect())
}

/// Closes all of them in a process that stands.
pub(crate) fn close_all(root: &Root, process: &mut StoppedProcess) -> Result<(), ParkError> {
    let held = held(root, process.name.pid)?;
    if held.is_empty() {
        return Ok(());
    }
    let mut operation = Operation::begin(root, process)?;
    for fd in held.into_iter().filter_map(|fd| u64::try_from(fd).ok()) {
        close(&mut operation, fd)?;
    }
    Ok(())
}

/// Our own duplicate of any descriptor of the target.
pub(crate) fn duplicate(pid: u32, number: i32) -> Result<rustix::fd::OwnedFd, ParkError> {
    let failed = |operation| {
        move |source| ParkError::Process {
            operation,
            pid,
            source,
        }
    };
    let process = pidfd(pid)?;
    pidfd_getfd(process.as_fd(), number, PidfdGetfdFlags::empty())
        .map_err(failed("take a descriptor from"))
}

/// A handle of a process.
pub(crate) fn pidfd(pid: u32) -> Result<rustix::fd::OwnedFd, ParkError> {
    let known = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let known = known.ok_or(ParkError::NoProcess(pid))?;
    pidfd_open(known, PidfdFlags::empty()).map_err(|source| ParkError::Process {
        operation: "open",
        pid,
        source,
    })
}

fn number(fd: u64) -> i32 {
    i32::try_from(fd).unwrap_or(-1)
}
