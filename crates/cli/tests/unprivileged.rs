//! An ordinary user on a host with root's processes.

use crate::look::assert_closes;
use crate::program::transcript;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const NOBODY: u32 = 65534;

/// Runs a copy of the program, where anybody can read it, as a user who owns nothing here.
fn as_nobody(arguments: &[&str]) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("plimsoll");
    fs::copy(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    command.output().unwrap()
}

#[test]
fn a_partial_account_that_is_true_and_says_what_it_lacks() {
    plimsoll_testkit::need!(Root);
    let output = as_nobody(&["look", "--json"]);
    assert!(output.status.success(), "{}", transcript(&output));
    let look: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_closes(&look);
    let lines: Vec<_> = look["unseen"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["what"].as_str().unwrap())
        .collect();
    assert!(lines.iter().any(|what| what.contains("slab")), "{lines:?}");
    assert!(lines.iter().any(|what| what.contains("pipe")), "{lines:?}");
}

#[test]
fn every_view_has_something_and_ends_with_what_was_not_seen() {
    plimsoll_testkit::need!(Root);
    let roots_pid = std::process::id().to_string();
    for view in ["processes", "groups", "commit", &roots_pid] {
        let output = as_nobody(&["look", view]);
        assert!(output.status.success(), "{view}: {}", transcript(&output));
        assert!(!output.stdout.is_empty(), "{view}");
    }
    let output = as_nobody(&["look"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("\nNot seen:\n") && text.contains("root"),
        "{text}"
    );
}

#[test]
fn a_place_that_is_not_ours_is_not_permitted() {
    plimsoll_testkit::need!(Root);
    let output = as_nobody(&["capture", "/root/plimsoll-capture"]);
    assert_eq!(output.status.code(), Some(3), "{}", transcript(&output));
}

#[test]
fn processes_that_proc_hides_are_named() {
    plimsoll_testkit::need!(
        Root,
        Program("unshare"),
        Program("mount"),
        Program("setpriv")
    );
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("plimsoll");
    fs::copy(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc && setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {} look processes; exit $?",
        program.display()
    );
    // a mount of /proc has the options of its pid namespace, so it takes one of its own
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-c", &script])
        .output()
        .unwrap();
    let told = transcript(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("processes of other users: /proc is mounted with hidepid="),
        "{told}"
    );
}
