//! What has happened to a parked tree so far: one small record per step, appended by one `write(2)`.
//!
//! It has to survive the death of its writer, not that of the host, which ends the parked process too; so it
//! lives in the page cache. A record that was cut by a full disk is no record; one whose checksum is wrong
//! anywhere else is damage.

use super::StoreError;
use super::format::checksum;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: u32 = u32::from_le_bytes(*b"PLjn");
const RECORD: usize = size_of::<RawRecord>();

/// One step of parking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first this many bytes of `pages` are durable: their pages may have been dropped from now on.
    Durable {
        /// Bytes of `pages`.
        pages_length: u64,
    },
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    magic: U32,
    crc: U32,
    store: U64,
    sequence: U64,
    kind: U32,
    unused: U32,
    value: U64,
    reserved: U64,
}

impl Step {
    fn raw(self) -> (u32, u64) {
        match self {
            Self::Durable { pages_length } => (1, pages_length),
        }
    }

    fn from_raw(raw: &RawRecord) -> Option<Self> {
        match raw.kind.get() {
            1 => Some(Self::Durable {
                pages_length: raw.value.get(),
            }),
            _ => None,
        }
    }
}

/// The journal of a store, open to append.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    store: u64,
    sequence: u64,
}

impl Journal {
    pub(crate) fn create(dir: &Path, store: u64) -> Result<Self, StoreError> {
        let path = dir.join("journal");
        Ok(Self {
            file: super::place::create_private(&path)?,
            path,
            store,
            sequence: 0,
        })
    }

    /// Reads all steps and opens to append. A tail that was cut is cut off.
    pub(crate) fn open(dir: &Path, store: u64) -> Result<(Self, Vec<Step>), StoreError> {
        let path = dir.join("journal");
        let mut file = File::options()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &path))?;
        let steps = decode(&path, &bytes, store)?;
        let sequence = steps.len() as u64;
        let whole = sequence * RECORD as u64;
        if whole != bytes.len() as u64 {
            file.set_len(whole).map_err(StoreError::io("trim", &path))?;
        }
        let journal = Self {
            file,
            path,
            store,
            sequence,
        };
        Ok((journal, steps))
    }

    /// Appends a step; once this returns, the next plimsoll will see it.
    ///
    /// # Errors
    /// As `write(2)`: a full disk, before what the step allows has been done.
    pub fn append(&mut self, step: Step) -> Result<(), StoreError> {
        let (kind, value) = step.raw();
        let mut record = RawRecord {
            magic: U32::new(MAGIC),
            crc: U32::new(0),
            store: U64::new(self.store),
            sequence: U64::new(self.sequence),
            kind: U32::new(kind),
            unused: U32::new(0),
            value: U64::new(value),
            reserved: U64::new(0),
        };
        record.crc = U32::new(checksum(record.as_bytes(), &[]));
        self.file
            .write_all(record.as_bytes())
            .map_err(StoreError::io("write", &self.path))?;
        self.sequence += 1;
        Ok(())
    }
}

fn decode(path: &Path, bytes: &[u8], store: u64) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    for record in bytes.chunks_exact(RECORD) {
        let sequence = steps.len() as u64;
        let damaged = |what| StoreError::damaged(path, sequence * RECORD as u64, what);
        let raw = RawRecord::ref_from_bytes(record).map_err(|_| damaged("no whole record"))?;
        if raw.magic.get() != MAGIC || raw.crc.get() != checksum(record, &[]) {
            return Err(damaged("a record's checksum is wrong"));
        }
        if raw.store.get() != store || raw.sequence.get() != sequence {
            return Err(damaged("a record is out of its place"));
        }
        steps.push(Step::from_raw(raw).ok_or_else(|| damaged("a record of unknown kind"))?);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_back_cut_tails_go_and_changed_bytes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let durable = |pages_length| Step::Durable { pages_length };
        let written = [durable(8192), durable(12288), durable(1 << 40)];
        let mut journal = Journal::create(dir.path(), 5).unwrap();
        for step in written {
            journal.append(step).unwrap();
        }
        let path = dir.path().join("journal");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(decode(&path, &changed, 5).is_err(), "byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let (mut journal, steps) = Journal::open(dir.path(), 5).unwrap();
        assert_eq!(steps, written[..2]);
        journal.append(written[2]).unwrap();
        assert_eq!(Journal::open(dir.path(), 5).unwrap().1, written);
        assert!(
            Journal::open(dir.path(), 6).is_err(),
            "another store's journal"
        );
    }
}
