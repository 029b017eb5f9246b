//! Pipes and FIFOs, with what waited in them.

use super::{Files, itself, own, regular, settle};
use crate::error::Error;
use plimsoll_image::Entry;
use plimsoll_image::proto::{FileEntry, PipeDataEntry};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Both ends of a pipe; each is taken by the first entry that is it, and opened anew for the others.
#[derive(Debug)]
pub(super) struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Whether each was given away as it was made: one that is opened anew shows other flags (`O_LARGEFILE`).
    given: [bool; 2],
}

/// An end of a pipe.
pub(super) fn pipe(files: &mut Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let pipe = entry.pipe.as_ref();
    let pipe = pipe.ok_or_else(|| Error::inconsistent(format!("file {} is no pipe", entry.id)))?;
    let failed = |errno: Errno| Error::file("make", format!("pipe {}", pipe.pipe_id), errno);
    if !files.pipes.contains_key(&pipe.pipe_id) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let waited = files
            .snapshot
            .pipes
            .iter()
            .find(|data| data.pipe_id == pipe.pipe_id);
        refill(&writer, waited).map_err(failed)?;
        let given = [false; 2];
        files.pipes.insert(
            pipe.pipe_id,
            Ends {
                reader,
                writer,
                given,
            },
        );
    }
    let Some(ends) = files.pipes.get_mut(&pipe.pipe_id) else {
        return Err(failed(Errno::NOENT));
    };
    let flags = OFlags::from_bits_retain(pipe.flags);
    let [reader_given, writer_given] = &mut ends.given;
    let mode = flags & OFlags::RWMODE;
    let (end, given) = match mode {
        OFlags::RDONLY => (&ends.reader, reader_given),
        _ => (&ends.writer, writer_given),
    };
    let as_made = !std::mem::replace(given, true) && mode != OFlags::RDWR;
    let file = if as_made {
        rustix::io::fcntl_dupfd_cloexec(end, 0).map_err(failed)?
    } else {
        open(itself(end), mode | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?
    };
    settle(&file, pipe.flags, &pipe.fown)?;
    Ok(file)
}

/// An open FIFO.
pub(super) fn fifo(files: &mut Files<'_>, entry: &FileEntry) -> Result<OwnedFd, Error> {
    let inconsistent = || Error::inconsistent(format!("file {} is no FIFO", entry.id));
    let fifo = entry.fifo.as_ref().ok_or_else(inconsistent)?;
    let regf_id = fifo.regf_id.unwrap_or(entry.id);
    let reg = files
        .entry(regf_id)?
        .reg
        .as_ref()
        .ok_or_else(inconsistent)?;
    let path = Path::new(OsStr::from_bytes(&reg.name));
    let failed = |errno: Errno| Error::file("open the FIFO", path, errno);
    if !files.fifos.contains_key(&fifo.pipe_id) {
        // Both ends at once, so that neither opening nor filling waits for the other.
        let both = regular::by_way_of(files, regf_id, reg, path, OFlags::RDWR | OFlags::CLOEXEC)?;
        let waited = files
            .snapshot
            .fifos
            .iter()
            .find(|data| data.pipe_id == fifo.pipe_id);
        refill(&both, waited).map_err(failed)?;
        files.fifos.insert(fifo.pipe_id, both);
    }
    let Some(both) = files.fifos.get(&fifo.pipe_id) else {
        return Err(failed(Errno::NOENT));
    };
    let flags = OFlags::from_bits_retain(reg.flags)
        .difference(OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC);
    let file = open(itself(both), flags | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    own(&file, &reg.fown)?;
    Ok(file)
}

fn refill(writer: &OwnedFd, waited: Option<&Entry<PipeDataEntry>>) -> Result<(), Errno> {
    let Some(waited) = waited else {
        return Ok(());
    };
    if let Some(size) = waited.size {
        fcntl_setpipe_size(writer, size as usize)?;
    }
    let mut rest = waited.payload.as_slice();
    while !rest.is_empty() {
        let done = rustix::io::write(writer, rest)?;
        rest = rest.get(done..).unwrap_or_default();
    }
    Ok(())
}
