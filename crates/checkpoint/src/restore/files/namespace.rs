//! Open namespaces: our own, since a tree is restored into those.

use crate::error::Error;
use crate::namespace;
use plimsoll_image::proto::FileEntry;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};

/// A descriptor of one.
pub(super) fn file(entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no namespace", entry.id));
    let wanted = entry.nsf.as_ref().ok_or_else(inconsistent)?;
    let mut kinds = namespace::ALL.iter();
    let kind = kinds.find(|kind| kind.flag == wanted.ns_cflag);
    let path = format!("/proc/self/ns/{}", kind.ok_or_else(inconsistent)?.name);
    open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", path, errno))
}
