//! Whether the host has room for what nobody has asked for yet.
//!
//! Trees that wake at once bring their memory back faster than anybody gets rid of any: forty that were asked one word each made
//! the kernel kill on a host where they and a build had all found room. So the rest of a woken tree waits while
//! `MemAvailable` (`proc_meminfo(5)`) is low, and comes when it no longer is. What is touched is brought at any time.

use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_units::Bytes;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of how many parts of RAM one has to be available, and how much is enough whatever there is. It lies between the marks `floor` and
/// `low` that the guard has by default, so that it goes on making room while trees wait for it.
const PART: u64 = 16;
const ENOUGH: Bytes = Bytes(768 << 20);

/// For how long there is room once there was.
const GOOD_FOR: Duration = Duration::from_millis(5);
/// From one look to the next while there is none.
const PAUSE: Duration = Duration::from_millis(100);

/// The room that a host has.
pub struct Room<'r> {
    root: &'r Root,
    /// When there was some. Who waits for it holds this, so that one of all that wait looks.
    there_was: Mutex<Option<Instant>>,
}

impl<'r> Room<'r> {
    /// By what `/proc/meminfo` says below this.
    #[must_use]
    pub fn of(root: &'r Root) -> Self {
        Self {
            root,
            there_was: Mutex::new(None),
        }
    }

    /// Waits until there is room, or until what it is wanted for is `over`.
    pub(super) fn wait(&self, over: impl Fn() -> bool) {
        let mut there_was = self
            .there_was
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if there_was.is_some_and(|then| then.elapsed() < GOOD_FOR) {
            return;
        }
        while self.is_scarce() && !over() {
            std::thread::sleep(PAUSE);
        }
        *there_was = Some(Instant::now());
    }

    /// Nobody waits for what can't be told.
    fn is_scarce(&self) -> bool {
        let Ok(text) = self.root.read("proc/meminfo") else {
            return false;
        };
        let meminfo = Meminfo::parse(&text);
        let (Some(total), Some(available)) = (meminfo.mem_total, meminfo.mem_available) else {
            return false;
        };
        available < Bytes(total.get() / PART).min(ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_left_of_small_and_of_large_hosts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let root = Root::captured(dir.path()).unwrap();
        let room = Room::of(&root);
        assert!(!room.is_scarce(), "it can't be told");
        for (total_mib, available_mib, scarce) in [
            (1600, 99, true),
            (1600, 100, false),
            (1 << 20, 767, true),
            (1 << 20, 768, false),
        ] {
            let text = format!(
                "MemTotal: {} kB\nMemAvailable: {} kB\n",
                total_mib * 1024,
                available_mib * 1024
            );
            std::fs::write(dir.path().join("proc/meminfo"), text).unwrap();
            assert_eq!(room.is_scarce(), scarce, "{available_mib} of {total_mib}");
        }
    }
}
