//! `CHECKSUMS`: a digest of every file of a set that Plimsoll wrote.
//!
//! One line a file, as `b3sum` prints them (BLAKE3, 256 bits), in order of names; so `b3sum --check CHECKSUMS` agrees with
//! us. The form is exact: every byte of the list counts, and every file of the set is on it.

use crate::directory::Directory;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The name of the list.
pub const MANIFEST: &str = "CHECKSUMS";

/// A list longer than this is none.
const LIMIT_BYTES: u64 = 64 << 20;

/// The digest of a file's bytes.
pub type Digest = blake3::Hash;

/// Copies a file, and gives its digest and length.
///
/// # Errors
/// It can't be read or written.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    let mut length = 0;
    loop {
        let read = from.read(&mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((hasher.finalize(), length));
        }
        hasher.update(bytes);
        to.write_all(bytes)?;
        length += read as u64;
    }
}

/// Digests of files by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// In order of names.
    pub files: Vec<(OsString, Digest)>,
}

impl Manifest {
    /// Its text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, digest) in &self.files {
            text.extend_from_slice(digest.to_hex().as_bytes());
            text.extend_from_slice(b"  ");
            text.extend_from_slice(name.as_bytes());
            text.push(b'\n');
        }
        text
    }

    /// Reads its text; `None` unless it is exactly what [`Manifest::to_bytes`] writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut files = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (digest, rest) = line.split_at_checked(64)?;
            let name = rest.strip_prefix(b"  ")?.strip_suffix(b"\n")?;
            let digest = blake3::Hash::from_hex(digest).ok()?;
            files.push((OsString::from_vec(name.to_vec()), digest));
        }
        let sorted = files.windows(2).all(|pair| match pair {
            [(a, _), (b, _)] => a < b,
            _ => true,
        });
        let manifest = Self { files };
        (sorted && manifest.to_bytes() == text).then_some(manifest)
    }

    /// The list of a set; `Ok(None)` if it has none.
    ///
    /// # Errors
    /// It can't be read, or is none ([`io::ErrorKind::InvalidData`]).
    pub fn of(directory: &dyn Directory) -> io::Result<Option<Self>> {
        let file = match directory.open(OsStr::new(MANIFEST)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(LIMIT_BYTES).read_to_end(&mut text)?;
        let parsed = Self::parse(&text);
        parsed
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no list of checksums"))
    }
}
