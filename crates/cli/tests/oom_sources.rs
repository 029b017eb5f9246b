//! Where `plimsoll explain oom` finds reports besides plain logs: a journal's file, and a directory of pstore.

use crate::program::plimsoll;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../explain/fixtures")
        .join(name)
}

/// The reports in `path`; programs are looked for in `programs` alone, and beside the shell.
fn reports(path: &Path, programs: &Path) -> Vec<Value> {
    let search = format!("{}:/usr/bin:/bin", programs.display());
    let mut command = plimsoll();
    let output = command
        .env("PATH", search)
        .args(["explain", "oom", "--json"])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["reports"].as_array().unwrap().clone()
}

/// `journalctl` is ours here: what is tested is that it is asked for this very file, and that its words are read.
#[test]
fn a_journals_file_is_read_by_journalctl() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("system.journal");
    fs::write(&journal, b"LPKSHHRH and more").unwrap();
    let program = dir.path().join("journalctl");
    let said = fixture("oom-6.12-global.txt");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--dmesg*\"--file {}\"*) exec cat {} ;; esac\nexit 1\n",
        journal.display(),
        said.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let found = reports(&journal, dir.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["killed"][0]["name"], "tail");
}

/// What a kernel saves while it goes down is in parts, the last first, and each has a line of its own before it.
#[test]
fn a_directory_of_pstore_is_read_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = fs::read_to_string(fixture("oom-6.12-panic.txt")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let size = lines.len().div_ceil(4);
    let parts: Vec<_> = lines.chunks(size).collect();
    let count = parts.len();
    for (at, part) in parts.iter().enumerate() {
        let number = count - at;
        let text = format!("Panic#1 Part{number}\n{}", part.join("\n"));
        fs::write(dir.path().join(format!("dmesg-efi_pstore-{number}")), text).unwrap();
    }
    fs::write(dir.path().join("console-ramoops-0"), "something else").unwrap();
    let found = reports(dir.path(), Path::new("/nonexistent"));
    let whole = reports(&fixture("oom-6.12-panic.txt"), Path::new("/nonexistent"));
    assert_eq!(found.len(), whole.len());
    let (found, whole) = (found.last().unwrap(), whole.last().unwrap());
    for part in [
        "class", "headline", "panic", "zones", "memory", "tasks", "killed", "quoted",
    ] {
        assert_eq!(found[part], whole[part], "{part}");
    }
    assert!(found["panic"].as_str().unwrap().contains("panic_on_oom"));
}
