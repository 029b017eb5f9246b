//! Open namespaces (`/proc/PID/ns`), where they are those of the tree.

use super::{Files, Open, entry, unknown};
use crate::error::Error;
use crate::namespace;
use plimsoll_image::proto::{FdTypes, FileEntry, NsFileEntry};
use std::os::unix::ffi::OsStrExt;

/// A descriptor of one.
pub(super) fn file(_: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let kind = namespace::of_link(open.link).ok_or_else(|| unknown(open))?;
    let own = std::fs::read_link(format!("/proc/self/ns/{}", kind.name));
    if !own.is_ok_and(|own| own.as_os_str().as_bytes() == open.link) {
        return Err(unknown(open)); // somebody else's
    }
    Ok(FileEntry {
        nsf: Some(NsFileEntry {
            id,
            ns_id: kind.id,
            ns_cflag: kind.flag,
            flags: open.flags(),
        }),
        ..entry(FdTypes::Ns, id)
    })
}
