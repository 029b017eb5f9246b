//! `plimsoll look --root` on a tree that somebody made to do harm: every view ends, with an account or a plain error.

use crate::program::{plimsoll, transcript};
use plimsoll_testkit::need;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const VIEWS: [&[&str]; 8] = [
    &[],
    &["--explain"],
    &["processes", "--by", "tree", "--pss=all"],
    &["groups"],
    &["commit"],
    &["slab"],
    &["1"],
    &["/", "--json"],
];

/// What is done to a file of the tree.
type Harm = fn(&Path, usize);

const HARMS: [(&str, Harm); 9] = [
    ("empty", |file, _| write(file, b"")),
    ("cut short", |file, _| {
        let bytes = fs::read(file).unwrap();
        write(file, &bytes[..bytes.len() / 2]);
    }),
    ("any bytes", |file, seed| write(file, &any_bytes(seed))),
    ("numbers beyond all bounds", |file, _| {
        let text: Vec<u8> = fs::read(file).unwrap();
        let nines = text
            .iter()
            .map(|byte| if byte.is_ascii_digit() { b'9' } else { *byte });
        let doubled =
            nines.flat_map(|byte| std::iter::repeat_n(byte, if byte == b'9' { 4 } else { 1 }));
        write(file, &doubled.collect::<Vec<_>>());
    }),
    ("a directory", |file, _| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a pipe", |file, _| {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }),
    ("a link to itself", |file, _| {
        fs::remove_file(file).unwrap();
        symlink(file.file_name().unwrap(), file).unwrap();
    }),
    ("a link to endless zeros", |file, _| {
        fs::remove_file(file).unwrap();
        symlink("/dev/zero", file).unwrap();
    }),
    ("huge", |file, _| {
        File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(1 << 40)
            .unwrap()
    }),
];

fn write(file: &Path, bytes: &[u8]) {
    File::create(file).unwrap().write_all(bytes).unwrap();
}

/// Always the same for a seed.
fn any_bytes(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..3000).map(|_| next()).collect()
}

/// A tree captured here, with the first process and one more.
fn captured(dir: &Path) -> PathBuf {
    let tree = dir.join("host");
    let output = plimsoll().arg("capture").arg(&tree).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let is_number = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let mut processes: Vec<_> = entries(&tree.join("proc"))
        .into_iter()
        .filter(is_number)
        .collect();
    processes.sort();
    for process in processes.iter().skip(2) {
        fs::remove_dir_all(process).unwrap();
    }
    tree
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    entries(dir).into_iter().flat_map(inside).collect()
}

#[test]
fn every_view_ends_plainly_whatever_the_files_are() {
    need!(Root, Program("mkfifo"), Program("timeout"), Program("cp"));
    let dir = tempfile::tempdir().unwrap();
    let tree = captured(dir.path());
    for (name, harm) in HARMS {
        let harmed = dir.path().join(name.replace(' ', "-"));
        assert!(
            Command::new("cp")
                .arg("-a")
                .args([&tree, &harmed])
                .status()
                .unwrap()
                .success()
        );
        // Once everything but what any look begins with, so that the views are reached; then that as well.
        let (first, others): (Vec<_>, Vec<_>) = files(&harmed).into_iter().partition(|file| {
            ["meminfo", "smaps"].iter().any(|name| file.ends_with(name))
                && !file.ends_with("1/smaps")
        });
        for part in [others, first] {
            for (seed, file) in part.iter().enumerate() {
                harm(file, seed);
            }
            for view in VIEWS {
                ends_plainly(&harmed, view, name);
            }
        }
        fs::remove_dir_all(harmed).unwrap();
    }
}

/// `timeout` tells a program that hangs from one on a busy machine.
fn ends_plainly(tree: &Path, view: &[&str], harm: &str) {
    let mut look = Command::new("timeout");
    look.env_clear().env("PATH", "/usr/bin:/bin");
    look.args(["60", env!("CARGO_BIN_EXE_plimsoll"), "look"]);
    let output = look.args(view).arg("--root").arg(tree).output().unwrap();
    let told = transcript(&output);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1 | 3)), "{harm}: {view:?}: {told}");
    assert!(!told.contains("panicked"), "{harm}: {view:?}: {told}");
}
