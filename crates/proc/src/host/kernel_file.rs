//! A file of the kernel's that stays open and is read again and again into the same buffer.

use crate::{ReadError, Root};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

/// More than most of these files hold; the buffer grows with the file.
const FIRST_BUFFER: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct KernelFile {
    pub(super) path: &'static str,
    file: File,
    buffer: Vec<u8>,
    length: usize,
    kept: Vec<u8>,
}

impl KernelFile {
    pub(super) fn open(root: &Root, path: &'static str) -> Result<Self, ReadError> {
        Ok(Self {
            path,
            file: root.open(path)?,
            buffer: vec![0; FIRST_BUFFER],
            length: 0,
            kept: Vec::new(),
        })
    }

    /// Reads the file as it is now.
    ///
    /// A seq file gives no more than its own buffer at a time, so only an empty read is the end.
    pub(super) fn refresh(&mut self) -> Result<&[u8], ReadError> {
        self.length = 0;
        loop {
            if self.length == self.buffer.len() {
                self.buffer.resize(self.buffer.len().saturating_mul(2), 0);
            }
            let free = self.buffer.get_mut(self.length..).unwrap_or_default();
            match self.file.read_at(free, self.length as u64) {
                Ok(0) => return Ok(self.bytes()),
                Ok(read) => self.length = self.length.saturating_add(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::new("read", self.path.into(), error)),
            }
        }
    }

    /// What the last reading gave.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Keeps what the last reading gave, whatever is read after it.
    pub(super) fn keep(&mut self) {
        self.kept.clear();
        let read = self.buffer.get(..self.length).unwrap_or_default();
        self.kept.extend_from_slice(read);
    }

    /// What was kept last.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }
}
