//! The settings of a cgroup v2 group: memory controller, pids controller and core.
//!
//! `Documentation/admin-guide/cgroup-v2.rst`. Lowering a limit reclaims at once, in the writer's own time: who can't wait
//! has somebody else write it.

use super::setting::settings;
use super::{ControlError, Group};
use crate::format::Words;
use plimsoll_units::{Bytes, Limit};
use rustix::io::Errno;

/// The settings of one group.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'g>(pub &'g Group);

settings!(Settings {
    /// Never reclaimed below this, even if others must be killed for it.
    set_memory_min: Limit = "memory.min",
    /// Not reclaimed below this while there is anything else to reclaim.
    set_memory_low: Limit = "memory.low",
    /// Above this its processes are slowed down and made to reclaim.
    set_memory_high: Limit = "memory.high",
    /// Above this something in it is killed.
    set_memory_max: Limit = "memory.max",
    /// The most it may swap out, beside its RAM. What is swapped already stays there.
    set_swap_max: Limit = "memory.swap.max",
    /// Above this its allocations are slowed down for good.
    set_swap_high: Limit = "memory.swap.high",
    /// The most RAM its compressed pages may take (5.19).
    set_zswap_max: Limit = "memory.zswap.max",
    /// Whether zswap may write its pages on to disk (6.8).
    set_zswap_writeback: bool = "memory.zswap.writeback",
    /// Whether the kernel's killer takes all of it or nothing.
    set_oom_group: bool = "memory.oom.group",
    /// Processes and threads in the group and below it.
    set_pids_max: Limit = "pids.max",
});

/// How far a reclaim came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaimed {
    /// As far as was asked, or a little further.
    All,
    /// Less: how much, the usage tells.
    Part,
}

impl Settings<'_> {
    /// Has the kernel reclaim so much, in this thread's own time (5.19). `swappiness` says what of: 0 page cache
    /// alone, 200 anonymous memory above all; a kernel that does not take it (before 6.11) reclaims as it sees fit.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn reclaim(&self, bytes: Bytes, swappiness: Option<u8>) -> Result<Reclaimed, ControlError> {
        let plain = bytes.get().to_string();
        let tried = match swappiness {
            None => self.0.set("memory.reclaim", plain.as_str()),
            Some(value) => {
                let chosen = format!("{plain} swappiness={value}");
                match self.0.set("memory.reclaim", chosen.as_str()) {
                    Err(error) if error.errno() == Some(Errno::INVAL) => {
                        self.0.set("memory.reclaim", plain.as_str())
                    }
                    tried => tried,
                }
            }
        };
        match tried {
            Ok(()) => Ok(Reclaimed::All),
            Err(error) if error.errno() == Some(Errno::AGAIN) => Ok(Reclaimed::Part),
            Err(error) => Err(error),
        }
    }

    /// Hands a controller down to the groups in this one, unless that is so already.
    ///
    /// # Errors
    /// As `write(2)`: `EBUSY` while processes are in it, `ENOENT` where it has no such controller itself.
    pub fn hand_down(&self, controller: &str) -> Result<(), ControlError> {
        let handed: Option<Words> = self.0.read("cgroup.subtree_control")?;
        if handed.is_some_and(|handed| handed.has(controller)) {
            return Ok(());
        }
        self.0
            .set("cgroup.subtree_control", format!("+{controller}").as_str())
    }
}
