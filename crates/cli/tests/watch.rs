//! What goes on until it is interrupted: `look --watch` on a terminal, and a capture that a signal meets.

use crate::program::{plimsoll, transcript};
use plimsoll_testkit::need;
use std::fs;
use std::process::Command;

/// On a terminal of its own (`script(1)`), interrupted after a few looks.
#[test]
fn watching_refreshes_in_place_and_ctrl_c_ends_it_well() {
    need!(Program("script"), Program("timeout"));
    let look = format!(
        "stty rows 24 cols 80; timeout --foreground --signal=INT 3 {} look --watch=0.5; echo ended $?",
        env!("CARGO_BIN_EXE_plimsoll")
    );
    let output = Command::new("script")
        .args(["-qec", &look, "/dev/null"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.matches("\x1b[H").count() > 1, "{shown}");
    assert!(shown.matches("unattributed").count() > 1, "{shown}");
    // 124 is what `timeout` says of all that it had to end; the program's own code is in the next test
    assert!(shown.ends_with("\r\nended 124\r\n"), "{shown}");
}

#[test]
fn through_a_pipe_watching_writes_one_look_after_the_other_and_an_interrupt_is_its_end() {
    need!(Program("timeout"));
    let output = Command::new("timeout")
        .args([
            "--preserve-status",
            "--signal=INT",
            "3",
            env!("CARGO_BIN_EXE_plimsoll"),
            "look",
            "--watch=0.5",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains('\x1b'), "{shown}");
    assert!(shown.matches("unattributed").count() > 1, "{shown}");
}

#[test]
fn a_capture_that_is_interrupted_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut capture = plimsoll();
    let mut child = capture
        .arg("capture")
        .arg(dir.path().join("host"))
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // Its directory is there once its signals are caught.
    while fs::read_dir(dir.path()).unwrap().next().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it began");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_capture_left_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    fs::create_dir(dir.path().join(format!(".host.partial-{}", ended.id()))).unwrap();
    fs::create_dir(
        dir.path()
            .join(format!(".host.partial-{}", std::process::id())),
    )
    .unwrap();
    fs::create_dir(dir.path().join(".host.partial-notes")).unwrap();
    let output = plimsoll()
        .arg("capture")
        .arg(dir.path().join("host"))
        .output()
        .unwrap();
    let told = transcript(&output);
    assert!(output.status.success(), "{told}");
    assert_eq!(told.matches("was left by a capture").count(), 1, "{told}");
    assert!(
        told.contains(&format!(".host.partial-{} was", ended.id())),
        "{told}"
    );
}
