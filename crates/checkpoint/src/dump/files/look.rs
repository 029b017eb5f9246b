//! What stands in the way among the open files of a tree that runs: each is described as for a checkpoint, but nothing is read
//! that others would miss, no connection is held still, and what is gone meanwhile is passed over.

use super::{Files, descriptors, other, unix};
use crate::coverage::OTHER_FILE;
use crate::dump::Options;
use crate::error::Error;
use crate::obstacle::Obstacle;
use plimsoll_proc::Root;
use std::os::unix::ffi::OsStrExt;

/// Everything that can be seen, as far as we may look.
pub(in crate::dump) fn obstacles(root: &Root, pids: &[u32]) -> Vec<Obstacle> {
    let options = Options {
        file_locks: true, // as `plimsoll checkpoint` has it
        ..Options::default()
    };
    let mut files = Files::new(options);
    files.only_look = true;
    let mut found = Vec::new();
    for pid in pids {
        let _ = files.controlling(root, *pid); // it may have ended
        let Ok((pidfd, numbers)) = descriptors(root, *pid) else {
            continue;
        };
        for fd in numbers {
            match files.descriptor(root, &pidfd, (*pid, fd)) {
                Ok(_) => {}
                Err(Error::Refused(obstacles)) => found.extend(obstacles),
                // Closed meanwhile, or not ours to duplicate: its link may tell.
                Err(_) => found.extend(by_link(*pid, fd)),
            }
        }
    }
    found.extend(unix::outside(&mut files));
    found.extend(files.connections.refused(false));
    found.extend(files.terminals.foreign());
    found
}

fn by_link(pid: u32, fd: u32) -> Option<Obstacle> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let what = other(link.as_os_str().as_bytes())?;
    Some(OTHER_FILE.of(pid, &[&fd, &what]))
}
