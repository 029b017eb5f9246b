//! `plimsoll capture`, and what `look --root` makes of it.

use crate::look::assert_closes;
use crate::program::{json, plimsoll, run, transcript};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_replay_gives_the_account_that_was_given_live() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("host");
    let output = plimsoll().arg("capture").arg(&tree).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));

    let live: serde_json::Value =
        serde_json::from_slice(&fs::read(tree.join("plimsoll/look.json")).unwrap()).unwrap();
    assert_closes(&live);
    let replayed = json(&["look", "commit", "--json", "--root", tree.to_str().unwrap()]);
    for part in ["schema", "host", "commit", "processes", "groups", "unseen"] {
        assert_eq!(replayed[part], live[part], "{part}");
    }
    assert!(!live["processes"].as_array().unwrap().is_empty());
    private_all_the_way_down(&tree);
}

fn private_all_the_way_down(path: &Path) {
    let mode = fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    if path.is_dir() {
        assert_eq!(mode, 0o700, "{}", path.display());
        for entry in fs::read_dir(path).unwrap() {
            private_all_the_way_down(&entry.unwrap().path());
        }
    } else {
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[test]
fn what_is_there_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine");
    fs::write(&file, "precious").unwrap();
    let output = plimsoll().arg("capture").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", transcript(&output));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_directory_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let output = plimsoll().arg("capture").arg(&empty).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert!(empty.join("proc/meminfo").exists());
}

#[test]
fn nowhere_to_write_to() {
    insta::assert_snapshot!(run(&["capture", "/nonexistent/dir/here"]), @r#"
    exit 1
    stderr: plimsoll: cannot make a directory beside /nonexistent/dir/here: No such file or directory (os error 2)
    "#);
    insta::assert_snapshot!(run(&["capture", "/"]), @r#"
    exit 4
    stderr: plimsoll: / is not empty
    stderr: hint: name a directory that does not exist yet; nothing was written
    "#);
}

/// A tmpfs too small for a capture, in a mount namespace of its own.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    plimsoll_testkit::need!(Root, Program("unshare"), Program("mount"));
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {0} && {1} capture {0}/host; echo exit $?; ls -A {0}",
        dir.path().display(),
        env!("CARGO_BIN_EXE_plimsoll"),
    );
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "exit 1\n", "{}", transcript(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("No space left on device"), "{stderr}");
}
