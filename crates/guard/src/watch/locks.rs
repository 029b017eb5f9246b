//! Who holds file locks that others wait for (`/proc/locks`, `proc_locks(5)`): to stop them would stop the others too.
//!
//! ```text
//! 1: POSIX  ADVISORY  WRITE 1234 08:01:42 0 EOF
//! 1: -> POSIX  ADVISORY  WRITE 5678 08:01:42 0 EOF      waits for the line above
//! ```
//!
//! To begin with the file, the kernel waits for a grace period of RCU and lets nobody lock anything meanwhile (`locks_start` in `fs/locks.c`):
//! some 4 ms, for us and for all others. So it is read once a survey, when the acts of that look have been handed out: what is known
//! is as old as the survey before.

use super::census::Census;
use super::groups::Groups;
use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use rustix::fd::OwnedFd;

/// Of how many holders there is word. No host is known on which so many are waited for at once.
const MOST: usize = 1024;

/// The file, and who was in it.
#[derive(Debug)]
pub(super) struct Locks {
    file: Option<OwnedFd>,
    holders: Vec<u32>,
}

impl Locks {
    /// Opens and reads the file.
    pub(super) fn open(buffer: &mut [u8]) -> Self {
        let mut locks = Self {
            file: kernel_text::open(None, c"/proc/locks").ok(),
            holders: Vec::with_capacity(MOST),
        };
        locks.read(buffer);
        locks
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) {
        let file = self.file.as_ref();
        let Some(text) = file.and_then(|file| kernel_text::read(file, buffer)) else {
            return;
        };
        self.holders.clear();
        each_holder(text, |pid| {
            if self.holders.len() < MOST {
                self.holders.push(pid);
            }
        });
    }

    /// Says it of the groups and processes that were found.
    pub(super) fn tell(&self, groups: &mut Groups, census: &mut Census) {
        groups.release_locks();
        census.release_locks();
        for pid in self.holders.iter().copied() {
            groups.holds_lock(pid);
            census.holds_lock(pid);
        }
    }
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
