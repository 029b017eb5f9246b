//! Archives that the kernel unpacks into its first file system: cpio, the `newc` format without checksums.
//!
//! `Documentation/driver-api/early-userspace/buffer-format.rst`: a header of hexadecimal ASCII fields, the name
//! with its NUL, padding to four bytes, the contents, padding again; an entry named `TRAILER!!!` ends it.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    /// A directory; those above it are made as needed, and one that is there stays.
    pub(crate) fn directory(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = relative(path.as_ref());
        let above: Vec<&Path> = path
            .ancestors()
            .filter(|p| !p.as_os_str().is_empty())
            .collect();
        for directory in above.into_iter().rev() {
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    /// A regular file with its permission bits.
    pub(crate) fn file(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        contents: &[u8],
    ) -> Result<()> {
        self.in_its_directory(path.as_ref(), FILE | (mode & 0o7777), (0, 0), contents)
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: impl AsRef<Path>, number: (u32, u32)) -> Result<()> {
        self.in_its_directory(path.as_ref(), CHARACTER_DEVICE, number, &[])
    }

    /// The archive, ended.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(Path::new("TRAILER!!!"), 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn in_its_directory(
        &mut self,
        path: &Path,
        mode: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> Result<()> {
        let path = relative(path);
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.entry(path, mode, device, contents)
    }

    fn entry(&mut self, name: &Path, mode: u32, device: (u32, u32), contents: &[u8]) -> Result<()> {
        self.entries = self.entries.saturating_add(1);
        let name = name.as_os_str().as_bytes();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).context("4 GiB or more in an archive");
        let name_size = size(name)?.saturating_add(1);
        let (major, minor) = device;
        self.bytes.extend_from_slice(b"070701");
        #[rustfmt::skip]
        let fields = [
            self.entries, mode, 0 /* uid */, 0 /* gid */, 1 /* links */, 0 /* mtime */,
            size(contents)?, 0, 0 /* on device */, major, minor, name_size, 0 /* check */,
        ];
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Names in an archive have no leading slash.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_testkit::need;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Busybox's own reader is the judge.
    #[test]
    fn another_program_unpacks_what_was_packed() {
        need!(Program("busybox"));
        let mut archive = Archive::default();
        archive.file("/etc/deep/odd", 0o640, b"seven b").unwrap();
        archive.file("/etc/deep/empty", 0o755, b"").unwrap();
        let archive = archive.finish().unwrap();

        let root = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("busybox")
            .args(["cpio", "-i", "-d"])
            .current_dir(root.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(cpio.wait().unwrap().success());

        let read = |path: &str| std::fs::read(root.path().join(path)).unwrap();
        assert_eq!(read("etc/deep/odd"), b"seven b");
        assert_eq!(read("etc/deep/empty"), b"");
    }

    #[test]
    fn every_part_begins_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"12345").unwrap();
        let archive = archive.finish().unwrap();
        assert_eq!(archive.len() % 4, 0);
        // Header 110, name "a" and NUL: 112. Contents 5: 117, padded to 120.
        assert_eq!(&archive[112..117], b"12345");
        assert_eq!(&archive[120..126], b"070701");
    }
}
