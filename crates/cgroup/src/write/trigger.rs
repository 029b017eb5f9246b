//! Being woken when tasks wait for memory: pressure triggers.
//!
//! `Documentation/accounting/psi.rst`, "Monitoring for pressure thresholds". A trigger lives as long as its descriptor,
//! which turns ready (`POLLPRI`) at most once a window, and shows `POLLERR` when its group is gone. Who has no
//! `CAP_SYS_RESOURCE` may only ask for windows of a multiple of 2 s (6.5).

use super::ControlError;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Whose waiting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// At least one task waited.
    Some,
    /// All that were not idle did.
    Full,
}

/// When to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Whose waiting.
    pub stalled: Stalled,
    /// So long in all,
    pub stall: Duration,
    /// within so long: 500 ms to 10 s.
    pub window: Duration,
}

impl Threshold {
    fn text(self) -> String {
        let stalled = match self.stalled {
            Stalled::Some => "some",
            Stalled::Full => "full",
        };
        // The kernel wants the terminating zero too.
        format!(
            "{stalled} {} {}\0",
            self.stall.as_micros(),
            self.window.as_micros()
        )
    }
}

/// Arms a trigger on `/proc/pressure/memory` or a group's `memory.pressure`; what is returned is to be polled.
///
/// # Errors
/// As `open(2)` and `write(2)`: `EINVAL` for a window that is not allowed, `EOPNOTSUPP` where pressure is not counted.
pub fn arm(file: &Path, threshold: Threshold) -> Result<OwnedFd, ControlError> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let trigger = rustix::fs::open(file, flags, Mode::empty())
        .map_err(|errno| ControlError::new("open", file, errno))?;
    let text = threshold.text();
    rustix::io::write(&trigger, text.as_bytes())
        .map_err(|errno| ControlError::new(format!("write {text:?} to"), file, errno))?;
    Ok(trigger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_written_in_microseconds_with_its_zero() {
        let threshold = Threshold {
            stalled: Stalled::Some,
            stall: Duration::from_millis(150),
            window: Duration::from_secs(1),
        };
        assert_eq!(threshold.text(), "some 150000 1000000\0");
    }
}
