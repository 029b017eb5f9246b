//! Pipes and FIFOs, with what waits in them: read by `tee(2)`, which takes nothing out.

use super::{Files, Open, entry, regular};
use crate::coverage::PACKETS;
use crate::error::Error;
use plimsoll_image::proto::{
    FdTypes, FifoEntry, FileEntry, PipeDataEntry, PipeEntry, RegFileEntry,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee,
};
use std::collections::btree_map::Entry;
use std::io::Read;

/// An end of a pipe.
pub(super) fn pipe(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let pipe_id = number(open);
    let look_only = files.only_look; // who opens an end may be waited for
    if let Entry::Vacant(new) = files.pipes.entry(pipe_id) {
        new.insert(if look_only {
            None
        } else {
            waiting(open, pipe_id)?
        });
    }
    Ok(FileEntry {
        pipe: Some(PipeEntry {
            id,
            pipe_id,
            flags: open.flags(),
            fown: open.owner()?,
        }),
        ..entry(FdTypes::Pipe, id)
    })
}

/// A FIFO: a file with a path and a pipe behind it.
pub(super) fn fifo(files: &mut Files, open: &Open<'_>, id: u32) -> Result<FileEntry, Error> {
    let pipe_id = number(open);
    let look_only = files.only_look; // who opens an end may be waited for
    if let Entry::Vacant(new) = files.fifos.entry(pipe_id) {
        new.insert(if look_only {
            None
        } else {
            waiting(open, pipe_id)?
        });
    }
    let regf_id = files.new_id();
    let link = format!("/proc/{}/fd/{}", open.pid, open.fd);
    let name = regular::keep_reachable(files, &link, open.link, &open.stat, regf_id)?;
    let reg = FileEntry {
        reg: Some(RegFileEntry {
            id: regf_id,
            flags: open.flags(),
            fown: open.owner()?,
            name,
            mode: Some(open.stat.st_mode),
            ..RegFileEntry::default()
        }),
        ..entry(FdTypes::Reg, regf_id)
    };
    files.entries.insert(regf_id, reg);
    Ok(FileEntry {
        fifo: Some(FifoEntry {
            id,
            pipe_id,
            regf_id: Some(regf_id),
        }),
        ..entry(FdTypes::Fifo, id)
    })
}

fn number(open: &Open<'_>) -> u32 {
    // Inode numbers of pipes are small: they are counted up, 32 bits wide (fs/inode.c, get_next_ino).
    u32::try_from(open.stat.st_ino & u64::from(u32::MAX)).unwrap_or(0)
}

/// What waits in a pipe, and its size.
fn waiting(
    open: &Open<'_>,
    pipe_id: u32,
) -> Result<Option<plimsoll_image::Entry<PipeDataEntry>>, Error> {
    let failed = |errno: Errno| open.failed("read what waits in", errno);
    let size = fcntl_getpipe_size(&open.file).map_err(failed)?;
    let reader = reading_end(open).map_err(failed)?;
    let bytes = peek(&reader, size).map_err(failed)?;
    let packets = open.info.flags & libc::O_DIRECT.unsigned_abs() != 0;
    if packets && !bytes.is_empty() {
        return Err(Error::refused(PACKETS.of(open.pid, &[&open.fd])));
    }
    let entry = PipeDataEntry {
        pipe_id,
        bytes: u32::try_from(bytes.len()).unwrap_or(0),
        size: u32::try_from(size).ok(),
    };
    Ok(Some(plimsoll_image::Entry::with_payload(entry, bytes)))
}

/// The end that can be read: the other end is opened anew through `/proc`.
fn reading_end(found: &Open<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/{}/fd/{}", found.pid, found.fd);
    open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn peek(reader: impl AsFd, size: usize) -> Result<Vec<u8>, Errno> {
    let (copy, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A copy takes as many buffers as the original has, however small each is filled.
    fcntl_setpipe_size(&into, size)?;
    match tee(&reader, &into, size, SpliceFlags::NONBLOCK) {
        Ok(_) | Err(Errno::AGAIN) => {}
        Err(errno) => return Err(errno),
    }
    drop(into);
    let mut bytes = Vec::new();
    std::fs::File::from(copy)
        .read_to_end(&mut bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}
