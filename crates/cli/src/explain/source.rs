//! Where kernel logs come from: files, pipes, the running kernel, the journal, pstore.

use crate::failure::{Failure, Kind};
use anyhow::Context;
use plimsoll_proc::{Root, kmsg};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// A log, and what it is called.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) log: Vec<u8>,
}

/// What journal files begin with (`systemd`'s `docs/JOURNAL_FILE_FORMAT.md`).
const JOURNAL_MAGIC: &[u8] = b"LPKSHHRH";

/// What packed files begin with, and what unpacks them to standard output: logs that were put away are often packed.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstdcat"),
    (b"\xfd7zXZ\0", "xzcat"),
    (b"BZh", "bzcat"),
];

/// Where the kernel keeps what it could save while it went down (`Documentation/ABI/testing/pstore`).
const PSTORE: &str = "/sys/fs/pstore";

/// A file, a directory of pstore, or standard input.
pub(super) fn of_path(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let failed = |error: anyhow::Error| Failure::new(Kind::Failed, error);
    if path == Path::new("-") {
        let mut log = Vec::new();
        io::stdin()
            .read_to_end(&mut log)
            .context("cannot read standard input")
            .map_err(failed)?;
        let name = "standard input".to_owned();
        not_packed(&name, &log)?;
        return Ok(Source { name, log });
    }
    let cannot_read = || format!("cannot read {name}");
    if path.is_dir() {
        let log = parts_of_pstore(path)
            .with_context(cannot_read)
            .map_err(failed)?;
        return Ok(Source { name, log });
    }
    let log = fs::read(path).with_context(cannot_read).map_err(failed)?;
    if log.starts_with(JOURNAL_MAGIC) {
        let log = journalctl(&[OsStr::new("--file"), path.as_os_str()])
            .with_context(cannot_read)
            .map_err(failed)?;
        return Ok(Source { name, log });
    }
    not_packed(&name, &log)?;
    Ok(Source { name, log })
}

/// A packed log has no line that could be read: to say that it has no report would be wrong.
fn not_packed(name: &str, log: &[u8]) -> Result<(), Failure> {
    let Some((_, program)) = PACKED.iter().find(|(magic, _)| log.starts_with(magic)) else {
        return Ok(());
    };
    let packed = Failure::message(Kind::Failed, format_args!("{name} is packed"));
    Err(packed.hint(format!("{program} FILE | plimsoll explain oom -")))
}

/// The running kernel's log.
pub(super) fn running_kernel(root: &Root) -> Result<Source, Failure> {
    Ok(Source {
        name: "the running kernel's log".to_owned(),
        log: kmsg::read(root)?,
    })
}

/// What the kernel saved when it went down last; `None` where there is no such place.
pub(super) fn pstore() -> Option<Source> {
    Some(Source {
        name: PSTORE.to_owned(),
        log: parts_of_pstore(Path::new(PSTORE)).ok()?,
    })
}

/// The journal's kernel messages of this boot, which go further back than the kernel's own; `None` where there is none.
pub(super) fn journal() -> Option<Source> {
    Some(Source {
        name: "the journal".to_owned(),
        log: journalctl(&[]).ok()?,
    })
}

fn journalctl(arguments: &[&OsStr]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("journalctl")
        .args([
            "--dmesg",
            "--output=short-monotonic",
            "--no-pager",
            "--quiet",
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("starting journalctl, which reads journal files")?;
    anyhow::ensure!(output.status.success(), "journalctl: {}", output.status);
    Ok(output.stdout)
}

/// The records of a directory of pstore in the order of the log: each begins with `Panic#1 Part2`, and part 1 is the last.
fn parts_of_pstore(dir: &Path) -> io::Result<Vec<u8>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"dmesg-") {
            let text = fs::read(entry.path())?;
            parts.push((part_number(&text), entry.file_name(), text));
        }
    }
    parts.sort_by(|one, two| two.0.cmp(&one.0).then_with(|| one.1.cmp(&two.1)));
    Ok(parts
        .into_iter()
        .flat_map(|(.., text)| [text, b"\n".to_vec()])
        .flatten()
        .collect())
}

fn part_number(text: &[u8]) -> Option<u32> {
    let first = text.split(|byte| *byte == b'\n').next()?;
    let (_, number) = std::str::from_utf8(first).ok()?.split_once(" Part")?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_pstore_are_put_in_the_order_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("dmesg-x-1", "Panic#1 Part1\nend"),
            ("dmesg-x-2", "Panic#1 Part2\nbegin"),
            ("console-x", "no"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let log = of_path(dir.path()).unwrap().log;
        assert_eq!(log, b"Panic#1 Part2\nbegin\nPanic#1 Part1\nend\n");
    }

    #[test]
    fn a_packed_log_is_not_taken_for_one_without_reports() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kern.log.1.gz");
        fs::write(&path, b"\x1f\x8b\x08\0").unwrap();
        let error = of_path(&path).err().unwrap();
        assert!(error.to_string().contains("is packed"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = of_path(Path::new("/nonexistent/log")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/log"), "{error}");
    }
}
