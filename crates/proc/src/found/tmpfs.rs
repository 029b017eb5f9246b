//! Mounted tmpfs file systems and what they hold.
//!
//! `tmpfs(5)`: `statfs(2)` tells what the files take, deleted ones that are still open included. Only the mounts of
//! our own mount namespace are seen; `devtmpfs` is a tmpfs too.

use super::Tmpfs;
use crate::mountinfo::Mount;
use crate::text::printable;
use plimsoll_units::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstatfs, open, statx};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;

/// Every tmpfs once, biggest first; those hidden under another mount are left out.
pub(super) fn usage(mounts: &[Mount]) -> Vec<Tmpfs> {
    let in_memory = |m: &&Mount| m.fs_type == b"tmpfs" || m.fs_type == b"devtmpfs";
    let mut seen = HashSet::new();
    let mut found: Vec<Tmpfs> = (mounts.iter().filter(in_memory).filter_map(used))
        .filter(|tmpfs| seen.insert(tmpfs.device))
        .collect();
    found.sort_by_key(|tmpfs| std::cmp::Reverse(tmpfs.used_bytes));
    found
}

fn used(mount: &Mount) -> Option<Tmpfs> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = open(&mount.mount_point, flags, Mode::empty()).ok()?;
    let stat = statx(&top, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).ok()?;
    if (stat.stx_dev_major, stat.stx_dev_minor) != mount.device {
        return None; // something else lies on top of it
    }
    let fs = fstatfs(&top).ok()?;
    let blocks = fs.f_blocks.saturating_sub(fs.f_bfree);
    Some(Tmpfs {
        mount_point: printable(mount.mount_point.as_os_str().as_bytes()).into_owned(),
        device: mount.device,
        used_bytes: Bytes(blocks.saturating_mul(u64::try_from(fs.f_bsize).ok()?)),
    })
}
