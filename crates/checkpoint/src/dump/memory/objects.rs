//! The contents of shared objects that only memory holds, without their holes (`lseek(2)`, `SEEK_DATA`).

use super::super::files::Files;
use super::Memory;
use super::pages::Pages;
use crate::error::Error;
use plimsoll_image::Kind;
use plimsoll_sys::Span;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

impl Memory<'_> {
    /// Writes them.
    pub(in crate::dump) fn shared(&mut self, files: &Files) -> Result<(), Error> {
        for (id, object) in files.memory_files() {
            let mut pages = self.begin(Kind::ShmemPagemap, id.into())?;
            self.copy_object(object, &mut pages)
                .map_err(|source| Error::file("read", format!("shared memory {id}"), source))?;
            pages.finish(self.set, self.prefix)?;
        }
        Ok(())
    }

    fn copy_object(&mut self, object: &File, pages: &mut Pages) -> std::io::Result<()> {
        let page = self.page_size.get();
        let mut at = 0;
        loop {
            let data = match seek(object, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => return Ok(()),
                data => data?,
            };
            let hole = seek(object, SeekFrom::Hole(data))?;
            let span = Span {
                start: data / page * page,
                end: hole.next_multiple_of(page),
            };
            self.in_pieces(span, |at, buffer| read(object, at, buffer), pages, 0)?;
            at = span.end;
        }
    }
}

/// Reads an object; behind its end, in its last page, are zeros.
fn read(object: &File, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match object.read_at(rest, at + done as u64)? {
            0 => {
                rest.fill(0);
                break;
            }
            more => done += more,
        }
    }
    Ok(())
}
