//! Descriptors of events that rustix has no call for: `signalfd(2)`, and the expirations that a timerfd has not told yet
//! (`TFD_IOC_SET_TICKS`, Linux 3.17, `CONFIG_CHECKPOINT_RESTORE`).
//!
//! # Safety
//! Each call gets numbers and a pointer to one word of ours, which it only reads and which lives through it.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// A descriptor that these signals are read from: bit N-1 is signal N. Close-on-exec.
///
/// # Errors
/// As `signalfd(2)`.
pub fn signalfd(signals: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC;
    // SAFETY: the mask is one word, as the size says.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const signals, 8, flags) };
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets how often a timerfd has expired since it was read.
///
/// # Errors
/// `EINVAL` for zero; `ENOTTY` on kernels without it.
pub fn set_timerfd_ticks(timer: impl AsFd, ticks: u64) -> Result<(), Errno> {
    const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400; // _IOW('T', 0, u64)
    // SAFETY: the argument points to one u64.
    match unsafe {
        libc::ioctl(
            timer.as_fd().as_raw_fd(),
            TFD_IOC_SET_TICKS,
            &raw const ticks,
        )
    } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

    #[test]
    fn ticks_are_read_back() {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap();
        set_timerfd_ticks(&timer, 7).unwrap();
        let mut ticks = [0; 8];
        rustix::io::read(&timer, &mut ticks).unwrap();
        assert_eq!(u64::from_ne_bytes(ticks), 7);
    }

    #[test]
    fn a_mask_is_kept() {
        let file = signalfd(1 << 9).unwrap();
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        assert!(info.contains("sigmask:\t0000000000000200"), "{info}");
    }
}
