//! Who holds file locks that others wait for (`/proc/locks`, `proc_locks(5)`): to stop them would stop the others too.
//!
//! ```text
//! 1: POSIX  ADVISORY  WRITE 1234 08:01:42 0 EOF
//! 1: -> POSIX  ADVISORY  WRITE 5678 08:01:42 0 EOF      waits for the line above
//! ```
//!
//! To begin with the file, the kernel waits for a grace period of RCU and lets nobody lock anything meanwhile (`locks_start` in `fs/locks.c`):
//! some 4 ms, for us and for all others. So only a survey reads it.

use super::census::Census;
use super::groups::Groups;
use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use rustix::fd::OwnedFd;

pub(super) fn read(file: &OwnedFd, buffer: &mut [u8], groups: &mut Groups, census: &mut Census) {
    groups.release_locks();
    census.release_locks();
    let Some(text) = kernel_text::read(file, buffer) else {
        return;
    };
    each_holder(text, |pid| {
        groups.holds_lock(pid);
        census.holds_lock(pid);
    });
}

/// Gives every process that holds what another waits for.
fn each_holder(text: &[u8], mut holder: impl FnMut(u32)) {
    let mut before: Option<u32> = None;
    for line in lines(text) {
        let mut words = words(line).skip(1).peekable();
        if words.peek() == Some(&&b"->"[..]) {
            if let Some(pid) = before.take() {
                holder(pid);
            }
            continue;
        }
        // -1 where the lock belongs to an open file description and not to a process.
        before = words
            .nth(3)
            .and_then(number)
            .and_then(|pid| pid.try_into().ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_waited_for() {
        let text = b"1: POSIX  ADVISORY  WRITE 1234 08:01:42 0 EOF\n\
                     1: -> POSIX  ADVISORY  WRITE 5678 08:01:42 0 EOF\n\
                     1: -> POSIX  ADVISORY  WRITE 5679 08:01:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 99 08:01:43 0 EOF\n\
                     3: OFDLCK ADVISORY  WRITE -1 08:01:44 0 EOF\n\
                     3: -> OFDLCK ADVISORY  WRITE -1 08:01:44 0 EOF\n\nx\n4:\n";
        let mut holders = Vec::new();
        each_holder(text, |pid| holders.push(pid));
        assert_eq!(holders, [1234]);
    }
}
